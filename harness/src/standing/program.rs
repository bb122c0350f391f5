//! Programs that are run in a standing host.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::capture::Capture;

/// What to run, and where.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Program {
    /// What to run.
    pub task: Task,
    /// Where.
    pub inside: Inside,
}

/// What to run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum Task {
    /// A command line.
    Command {
        /// The program and its arguments; never empty.
        argv: Vec<String>,
        /// The folder that it is run in, `/` unless said.
        cwd: Option<String>,
        /// Environment variables besides those of a login.
        env: Vec<(String, String)>,
    },
    /// An interactive shell: bash where there is one.
    Shell,
    /// A capture of packets, to standard output.
    Capture(Capture),
}

/// Where to run it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Inside {
    /// On the user's machine.
    #[default]
    Host,
    /// In the virtual machine that has the engine; the same as the host where there is none.
    Engine,
    /// In a container on the network of the sandboxes: that one, else the one that runs, else one that is made for it.
    Sandbox(Option<String>),
}

impl FromStr for Inside {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "host" => Ok(Self::Host),
            None if text == "engine" => Ok(Self::Engine),
            None if text == "sandbox" => Ok(Self::Sandbox(None)),
            Some(("sandbox", name)) if is_container(name) => Ok(Self::Sandbox(Some(name.to_owned()))),
            _ => Err("there are host, engine, sandbox and sandbox:CONTAINER".to_owned()),
        }
    }
}

/// What the engine takes for a name or an id, and never for an option.
pub(super) fn is_container(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.bytes().all(is_name) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_of_four_words() {
        assert_eq!("host".parse(), Ok(Inside::Host));
        assert_eq!("sandbox".parse(), Ok(Inside::Sandbox(None)));
        assert_eq!("sandbox:box-1".parse(), Ok(Inside::Sandbox(Some("box-1".to_owned()))));
        for wrong in ["", "Host", "sandbox:", "sandbox:--privileged", "sandbox:a b", "vm:x"] {
            assert!(wrong.parse::<Inside>().is_err(), "{wrong:?}");
        }
    }
}
