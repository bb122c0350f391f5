//! The native tables that `nft -j list ruleset` prints.

mod document;
mod expression;
mod sets;
mod statement;
mod value;
mod words;

pub(crate) use document::parse;
