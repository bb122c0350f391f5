//! What a host pretends to be.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::host::HostBuilder;

/// A kind of machine on which OpenShell's users work, as far as it can be told from an engine's answers and from the files
/// that name a system.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Persona {
    /// The image as it is, with the engine beside the services.
    #[default]
    Debian,
    /// Brev's Ubuntu 22.04 (NVIDIA/NemoClaw#3340), with the engine beside the services.
    Brev,
    /// A distribution of WSL2 with Docker Desktop's engine (NVIDIA/NemoClaw#5513).
    Wsl2,
    /// A distribution of WSL2 with an engine of its own, beside the services.
    Wsl2Engine,
    /// Docker Desktop.
    DockerDesktop,
    /// Colima.
    Colima,
    /// Lima with its template for Docker.
    Lima,
    /// Rancher Desktop with its moby engine, whose machine is one of Lima's.
    RancherDesktop,
    /// OrbStack.
    OrbStack,
}

/// The virtual machine of a persona, as its engine shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Machine {
    /// Its host name, which is the engine's `Name`.
    pub name: &'static str,
    /// The engine's `OperatingSystem`, which is the `PRETTY_NAME` of its os-release.
    pub operating_system: &'static str,
    /// The address under which its sandboxes meet the user's machine (`--host-gateway-ip`).
    pub host_gateway: Ipv4Addr,
}

/// The address of Docker Desktop's own proxy: the refusal in NVIDIA/NemoClaw#5513 is from it.
const DESKTOP_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 65, 254);

/// The host in Lima's network (rancher-sandbox/rancher-desktop#1625, abiosoft/colima#857); Colima tells its engine so
/// (abiosoft/colima#574).
const LIMA_GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 5, 2);

/// What `host.docker.internal` is in OrbStack (orbstack/orbstack#1468).
const ORBSTACK_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 19, 248, 254);

impl Persona {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Debian,
        Self::Brev,
        Self::Wsl2,
        Self::Wsl2Engine,
        Self::DockerDesktop,
        Self::Colima,
        Self::Lima,
        Self::RancherDesktop,
        Self::OrbStack,
    ];

    /// Its virtual machine; none where the engine runs beside the services.
    ///
    /// The names are those that OpenShell's driver looks for (`docker_gateway_route`). It also looks for labels: an engine
    /// takes those of Rancher Desktop and OrbStack ([`HostBuilder::engine_label`]), but refuses `com.docker.*` to everybody
    /// ([`Interference::alter`](crate::engine::Interference::alter) puts one in).
    #[must_use]
    pub fn machine(self) -> Option<Machine> {
        let machine =
            |name, operating_system, host_gateway| Some(Machine { name, operating_system, host_gateway });
        match self {
            Self::Debian | Self::Brev | Self::Wsl2Engine => None,
            Self::Wsl2 | Self::DockerDesktop => machine("docker-desktop", "Docker Desktop", DESKTOP_GATEWAY),
            Self::Colima => machine("colima", "Ubuntu 24.04.1 LTS", LIMA_GATEWAY),
            Self::Lima => machine("lima-docker", "Ubuntu 24.10", LIMA_GATEWAY),
            Self::RancherDesktop => machine("lima-rancher-desktop", "Alpine Linux v3.20", LIMA_GATEWAY),
            Self::OrbStack => machine("orbstack", "OrbStack", ORBSTACK_GATEWAY),
        }
    }

    /// Makes the user's machine of this persona out of a host: where the services and the probe run, and without a virtual
    /// machine the engine too.
    #[must_use]
    pub fn dress(self, host: HostBuilder) -> HostBuilder {
        match self {
            Self::Brev => host.name("brev-host").os_release(os_release("Ubuntu 22.04.5 LTS")),
            Self::Wsl2 | Self::Wsl2Engine => host
                .name("wsl")
                .os_release(os_release("Ubuntu 24.04.1 LTS"))
                .kernel_version("Linux version 5.15.153.1-microsoft-standard-WSL2 (root@builder) #1 SMP"),
            _ => host,
        }
    }
}

impl Machine {
    /// Makes the virtual machine out of a host.
    pub(super) fn dress(&self, host: HostBuilder) -> HostBuilder {
        host.name(self.name)
            .os_release(os_release(self.operating_system))
            .engine_argument(format!("--host-gateway-ip={}", self.host_gateway))
    }
}

fn os_release(pretty_name: &str) -> String {
    let id = pretty_name.split_whitespace().next().unwrap_or_default().to_lowercase();
    format!("ID={id}\nPRETTY_NAME=\"{pretty_name}\"\n")
}
