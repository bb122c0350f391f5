//! What the kernel's trace adds to a dial.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::lab::{GATEWAY, Lab};
use harness::{HostTrace, Ufw};
use netns::Vantage;
use nftrace::Place;

use crate::{Figure, median, progress};

/// How many dials are made in a row with the trace or without it, so that neither has the better minute.
const ROW: u32 = 20;

/// Dials through UFW's chains that are traced and whose decisions are read, against the same dials without.
pub(crate) async fn tracing(rounds: u32) -> Result<Figure> {
    progress("tracing: dials with the kernel's trace and without");
    let lab = Lab::start().await?;
    lab.apply(Ufw::default_deny().allow("8080/tcp")).await?;
    let vantage = lab.host.vantage(&lab.network)?;
    let gateway = SocketAddr::new(lab.network.gateway.into(), GATEWAY);
    let place = Place::Device(vantage.port().to_owned());
    let (mut plain, mut traced) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.extend(row(&vantage, gateway, None)?);
        let mut trace = lab.host.trace(&place, &[GATEWAY])?;
        traced.extend(row(&vantage, gateway, Some(&mut trace))?);
    }
    let (plain, traced) = (median(plain) * 1000.0, median(traced) * 1000.0);
    let from = format!("{traced:.3} ms with its decision read - {plain:.3} ms, {} dials each", rounds * ROW);
    Ok(Figure::new("tracing a dial", traced - plain, "ms", 1.0, from))
}

fn row(vantage: &Vantage, gateway: SocketAddr, mut trace: Option<&mut HostTrace>) -> Result<Vec<Duration>> {
    let dials = || -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for _ in 0..ROW {
            let start = Instant::now();
            let connection = TcpStream::connect(gateway)?;
            if let Some(trace) = &mut trace {
                let flows = trace.drain()?;
                let decided = flows.first().context("nothing was traced")?;
                ensure!(decided.to_string() == "ip filter ufw-user-input rule 1: accept", "{decided}");
            }
            times.push(start.elapsed());
            drop(connection);
        }
        Ok(times)
    };
    vantage.namespace().run(dials)?
}
