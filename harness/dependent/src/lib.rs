//! What somebody else's project is about; here only its test matters.
