//! What a release validation gives the suite to test, instead of what was built together with it: `scripts/validate-release`
//! sets these variables.
//!
//! | variable | what it names |
//! |---|---|
//! | `OPENSHELL_PROBE_BIN` | the probe; of any build when `OPENSHELL_ACCEPT_ANY_BUILD` is `1` |
//! | `OPENSHELL_GATEWAY_BIN` | the gateway that takes the place of the stand-in |
//! | `OPENSHELL_GATEWAY_DEFINITION` | how that gateway is started; as OpenShell's is unless it is given |
//! | `OPENSHELL_IMAGE` | the userland of the hosts, with the engine: an image's name, or `machine` |

use std::env;

use anyhow::{Context, Result};
use harness::{HostBuilder, Image};

/// Whether a program may be of other sources than the suite.
#[must_use]
pub fn any_build() -> bool {
    env::var_os("OPENSHELL_ACCEPT_ANY_BUILD").is_some_and(|value| value == "1")
}

/// Gives the host that userland.
///
/// # Errors
/// When there is no such image.
pub fn with_image(builder: HostBuilder) -> Result<HostBuilder> {
    let Some(name) = env::var_os("OPENSHELL_IMAGE").filter(|name| !name.is_empty()) else {
        return Ok(builder);
    };
    let name = name.to_str().context("OPENSHELL_IMAGE is not UTF-8")?;
    let image = if name == "machine" { Image::machine()? } else { Image::named(name)? };
    Ok(builder.image(image))
}
