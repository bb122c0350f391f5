//! A dial from a sandbox's place without a container, beside one with.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bollard::query_parameters::ListImagesOptions;
use e2e::lab::{Lab, PROBE};
use probe::{Report, Vantage};

use crate::{Figure, median, progress};

/// The program's own times of `check --via netns`, and the same dialer by the engine's client. They take turns.
pub(crate) async fn dialling(rounds: u32) -> Result<Vec<Figure>> {
    progress("dialling: from a namespace on the bridge, and docker run of the dialer");
    let lab = Lab::start().await?;
    // Brings the image, which the container's way needs.
    lab.check().await?;
    let images = lab.host.engine()?.client().list_images(None::<ListImagesOptions>).await?;
    let image = images.first().context("the probe left no image")?.id.clone();
    let alias = format!("host.openshell.internal:{}", lab.network.gateway);
    let (mut removals, mut setups, mut dials, mut programs, mut runs) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let check = ["check", "--via", "netns", "--port", "8080=dialled/tcp", "--format", "json"];
        let start = Instant::now();
        let output = lab.host.command(PROBE).args(check).output().await?;
        programs.push(start.elapsed());
        ensure!(output.status.success(), "{output:?}");
        let report: Report = serde_json::from_slice(&output.stdout)?;
        let Vantage::Netns { setup_us, dial_us, removal_us, .. } = report.evidence.vantage else {
            anyhow::bail!("dialled from {:?}", report.evidence.vantage);
        };
        removals.push(Duration::from_micros(removal_us));
        setups.push(Duration::from_micros(setup_us));
        dials.push(Duration::from_micros(dial_us));
        let start = Instant::now();
        lab.host
            .command("docker")
            .args(["run", "--rm", "--network", "openshell-docker", "--add-host", &alias, &image])
            .args(["host.openshell.internal", "2000", "3500", "9000", "8080:tcp"])
            .run()
            .await?;
        runs.push(start.elapsed());
    }
    let [removal, setup, dial, program, run] = [removals, setups, dials, programs, runs].map(median);
    let ms = |seconds: f64| seconds * 1000.0;
    let parts = format!(
        "the handshake and an acknowledged end, from a veth on the bridge; the program as a whole {:.0} ms",
        ms(program)
    );
    let once = format!(
        "namespace, veth, 1 ms of address probe; the removal afterwards takes {:.1} ms, most of it the kernel's wait for all CPUs",
        ms(removal)
    );
    let ratio = format!(
        "{:.0} ms ÷ {:.2} ms; ÷ set-up and dial: {:.0}; ÷ these and the removal: {:.0}",
        ms(run),
        ms(dial),
        run / (setup + dial),
        run / (setup + dial + removal)
    );
    Ok(vec![
        Figure::new("dial without a container", ms(dial), "ms", 2.0, parts),
        Figure::new("its set-up, once for all ports", ms(setup), "ms", 10.0, once),
        Figure::at_least("docker run of the dialer ÷ that dial", run / dial, "", 200.0, ratio),
    ])
}
