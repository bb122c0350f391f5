//! Every way to a running gateway, under every firewall: the preflight runs at its end, before anything is called healthy. A
//! way has one host, to which the firewalls come one after another.
//!
//! The ways are told apart by what they leave behind. Fresh: a new process and new records. Reused: the same process and
//! untouched records. Adopted: the same process, and records that were not there. Managed: a new process of the manager's and
//! no records. Outer reuse: nothing is written or started at all.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use e2e::firewall::Firewall;
use e2e::lab::{GATEWAY, forget_records, gateway_setup, host_for_onboarding};
use harness::service::ServiceManager;
use harness::service::gateway::{GatewayError, GatewayProgram, GatewaySetup, OuterReuse};
use harness::{Host, NetworkInfo};
use probe::{Cause, LifecyclePath, Verdict};
use rstest::rstest;

#[rstest]
#[tokio::test]
async fn the_gateway_is_healthy_only_when_sandboxes_reach_it(
    #[values(
        LifecyclePath::Fresh,
        LifecyclePath::Reused,
        LifecyclePath::Adopted,
        LifecyclePath::ManagedService,
        LifecyclePath::OuterReuse
    )]
    path: LifecyclePath,
) -> Result<()> {
    let (host, program) = host_for_onboarding().await?;
    let manager = match path {
        LifecyclePath::ManagedService => Some(ServiceManager::start(&host, &program).await?),
        _ => None,
    };
    let run = Run { host: &host, program: &program, path, manager: manager.as_ref() };
    for firewall in Firewall::ALL {
        run.under(firewall).await.with_context(|| format!("under {firewall:?}"))?;
    }
    host.shutdown().await?;
    Ok(())
}

/// The engine of the machine itself: an outer host plays the machine, and one test of each kind runs in it as a release
/// validation with `--image machine` does.
#[tokio::test]
async fn the_paths_are_the_same_on_the_engine_of_the_machine_itself() -> Result<()> {
    if e2e::ordinary::skips("the_paths_are_the_same_on_the_engine_of_the_machine_itself") {
        return Ok(());
    }
    let cache = harness::image::Cache::open()?;
    let outer = Host::builder()
        .name("machine")
        .engine(harness::Engine::Docker)
        .bind_writable(cache.folder(), "/cache")
        .bind(std::env::current_exe()?, "/usr/local/bin/lifecycle")
        .bind(e2e::programs::probe()?, "/usr/local/bin/openshell-probe")
        .start()
        .await?;
    let name = "the_gateway_is_healthy_only_when_sandboxes_reach_it";
    let fresh = format!("{name}::path_1_LifecyclePath__Fresh");
    let adopted = format!("{name}::path_3_LifecyclePath__Adopted");
    let said = outer
        .command("lifecycle")
        .args(["--exact", &fresh, &adopted])
        .env("OPENSHELL_HARNESS_CACHE", "/cache")
        .env("OPENSHELL_PROBE_BIN", "/usr/local/bin/openshell-probe")
        .env("OPENSHELL_IMAGE", "machine")
        .deadline(std::time::Duration::from_secs(90))
        .run()
        .await?;
    assert!(said.contains("2 passed; 0 failed"), "{said}");
    outer.shutdown().await?;
    Ok(())
}

/// An onboarding in a host.
struct Run<'a> {
    host: &'a Host,
    program: &'a GatewayProgram,
    path: LifecyclePath,
    manager: Option<&'a ServiceManager>,
}

/// What a run may change.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    processes: Vec<i32>,
    recorded: Option<i32>,
    stamps: [Option<SystemTime>; 2],
    starts: Option<u32>,
}

/// How an onboarding ended: the way, and the process.
type Ended = Result<(LifecyclePath, i32), GatewayError>;

impl Run<'_> {
    /// One firewall's row, from a host without one to the same again.
    async fn under(&self, firewall: Firewall) -> Result<()> {
        self.arrange(firewall).await?;
        let before = self.look().await?;
        let ended = self.onboard().await;
        let after = self.look().await?;
        if firewall == Firewall::Open {
            self.expect_healthy(&ended, &before, &after);
        } else {
            let remedy = self.expect_stopped(&ended, firewall, &before, &after).await?;
            if firewall == Firewall::UfwWithRemedy {
                self.host.command(&remedy[0]).args(&remedy[1..]).run().await?;
                let before = self.look().await?;
                let ended = self.onboard().await;
                self.expect_healthy(&ended, &before, &self.look().await?);
            }
        }
        firewall.lift(self.host, &self.network().await?, GATEWAY).await
    }

    fn setup(&self) -> GatewaySetup<'_> {
        let setup = gateway_setup(self.host, self.program);
        match self.manager {
            Some(manager) => setup.managed_by(manager),
            None => setup,
        }
    }

    /// Brings the host to where the way begins, with the firewall in force.
    async fn arrange(&self, firewall: Firewall) -> Result<()> {
        match self.path {
            // Nothing was there before: with no firewall the gateway also makes the network.
            LifecyclePath::Fresh if firewall == Firewall::Open => return Ok(()),
            LifecyclePath::Fresh => self.end_what_runs().await?,
            LifecyclePath::Adopted => {
                self.setup().ensure_gateway().await?;
                forget_records(self.host).await?;
            }
            _ => {
                self.setup().ensure_gateway().await?;
            }
        }
        let network = self.network().await?;
        firewall.apply(self.host, &network, GATEWAY, &[]).await
    }

    /// A healthy gateway of an earlier row.
    async fn end_what_runs(&self) -> Result<()> {
        let setup = self.setup();
        let Some(pid) = setup.records().pid() else { return Ok(()) };
        self.host.command("kill").arg(pid.to_string()).run().await?;
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !setup.processes().is_empty() {
            tick.tick().await;
        }
        forget_records(self.host).await
    }

    async fn network(&self) -> Result<NetworkInfo> {
        Ok(self.host.engine()?.inspect_network("openshell-docker").await?)
    }

    async fn look(&self) -> Result<Seen> {
        let setup = self.setup();
        let starts = match self.manager {
            Some(manager) => Some(manager.status().await?.starts),
            None => None,
        };
        let records = setup.records();
        Ok(Seen { processes: setup.processes(), recorded: records.pid(), stamps: records.stamps(), starts })
    }

    async fn onboard(&self) -> Ended {
        let setup = self.setup();
        if self.path == LifecyclePath::OuterReuse {
            return match setup.reuse_gateway().await? {
                OuterReuse::Skip(ensured) => Ok((ensured.path, ensured.pid)),
                other => panic!("it is not left alone: {other:?}"),
            };
        }
        let ensured = setup.ensure_gateway().await?;
        assert_eq!(ensured.preflight.talk, "", "a preflight that lets through is silent");
        Ok((ensured.path, ensured.pid))
    }

    fn expect_healthy(&self, ended: &Ended, before: &Seen, after: &Seen) {
        let (path, pid) = match ended {
            Ok(ended) => *ended,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(path, self.path);
        assert_eq!(after.processes, [pid], "there is one gateway");
        match self.path {
            LifecyclePath::Fresh => {
                assert!(before.processes.is_empty() && before.recorded.is_none(), "{before:?}");
                assert_eq!(after.recorded, Some(pid));
            }
            LifecyclePath::Reused | LifecyclePath::OuterReuse => {
                assert_eq!(after, before, "nothing was started or written");
                assert_eq!(after.recorded, Some(pid));
            }
            LifecyclePath::Adopted => {
                assert_eq!((&before.processes[..], before.recorded), (&[pid][..], None));
                assert_eq!((after.recorded, before.stamps), (Some(pid), [None, None]));
            }
            _ => {
                assert_ne!(before.processes, after.processes, "it was restarted");
                assert_eq!(after.starts, before.starts.map(|starts| starts + 1));
                assert_eq!((after.recorded, after.stamps), (None, [None, None]));
            }
        }
    }

    /// It stopped for what a sandbox experiences, at this way's own point, and left nothing that another run would fall
    /// over. Returns the command that repairs it.
    async fn expect_stopped(
        &self,
        ended: &Ended,
        firewall: Firewall,
        before: &Seen,
        after: &Seen,
    ) -> Result<Vec<String>> {
        let stop = match ended {
            Err(error) => error.stop().with_context(|| format!("it failed otherwise: {error}"))?,
            Ok(_) => bail!("it was called healthy"),
        };
        assert_eq!((stop.path, stop.code), (self.path, 1), "{stop}");
        let target = &stop.report.targets[0];
        let found = (target.port, target.verdict, target.cause);
        assert_eq!(found, (GATEWAY, Verdict::TcpFailed, Some(Cause::Dropped)), "{stop}");
        assert_eq!(stop.report.preflight.map(|gate| gate.path), Some(self.path));
        let network = self.network().await?;
        let (subnet, gateway) = (network.cidr(), network.gateway);
        let command = match firewall {
            Firewall::UfwDefaultDeny | Firewall::UfwWithRemedy => {
                format!("ufw allow from {subnet} to {gateway} port 8080 proto tcp")
            }
            _ => format!("iptables -I INPUT -s {subnet} -d {gateway} -p tcp --dport 8080 -j ACCEPT"),
        };
        let lines = stop.talk.lines();
        assert_eq!(lines.filter(|line| *line == format!("hint: {command}")).count(), 1, "{}", stop.talk);
        match self.path {
            // What this run started is gone: the port is free for the next one.
            LifecyclePath::Fresh => {
                assert_eq!((after.processes.len(), after.recorded, after.stamps), (0, None, [None, None]));
            }
            LifecyclePath::ManagedService => {
                assert_eq!(after.starts, before.starts.map(|starts| starts + 1));
                assert_eq!(after.processes.len(), 1);
            }
            _ => assert_eq!(after, before, "what was running runs on, and no record says otherwise"),
        }
        Ok(target.remedy.as_ref().context("there is no remedy")?.argv.clone())
    }
}
