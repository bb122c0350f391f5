//! Services.

pub(crate) fn start_stand_in_if_asked() {}
