//! Numbers of 128 bits in formats that have none: those that are wider than 64 bits are written as text.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    match u64::try_from(*number) {
        Ok(number) => serializer.serialize_u64(number),
        Err(_) => serializer.collect_str(&format_args!("{number:#x}")),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    deserializer.deserialize_any(Wide)
}

struct Wide;

impl Visitor<'_> for Wide {
    type Value = u128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a hexadecimal one as text")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u128, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u128, E> {
        let digits = text.strip_prefix("0x").ok_or_else(|| E::custom("no hexadecimal number"))?;
        u128::from_str_radix(digits, 16).map_err(E::custom)
    }
}

/// How such a number is written.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) enum Written {
    /// As a number, up to 64 bits.
    Number(u64),
    /// As text, `0x` and hexadecimal digits.
    Text(String),
}
