//! A threaded program that creates hosts and other children, and is ended by the tests.
//!
//! It prints a line for every step of every host (`<host> <step>`), a line `child <pid>` for every other child, and
//! `up` when all hosts run. It ends when its standard input does.

#![allow(clippy::print_stdout, reason = "this program talks to its test through stdout")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use anyhow::Result;
use clap::Parser;
use harness::engine::Intercept;
use harness::vm::{Persona, VirtualMachine};
use harness::{Engine, Host, Image};

#[derive(Parser)]
struct Arguments {
    /// How many hosts to create at once.
    #[arg(long, default_value_t = 4)]
    hosts: usize,
    /// Give them an engine.
    #[arg(long)]
    engine: bool,
    /// Create a virtual machine and its user's machine as well, and put a relay before its engine.
    #[arg(long)]
    virtual_machine: bool,
    /// The image; `machine` is the machine's own userland.
    #[arg(long, default_value = "debian-13")]
    image: String,
    /// Start that many children that outlive this program, at any time during the boots.
    #[arg(long, default_value_t = 0)]
    children: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let engine = if arguments.engine { Engine::Docker } else { Engine::None };
    let image =
        if arguments.image == "machine" { Image::machine()? } else { Image::named(&arguments.image)? };
    let children = std::thread::spawn(move || {
        for _ in 0..arguments.children {
            // It holds whatever it inherits until its test ends it.
            let child = Command::new("sleep")
                .arg("600")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            if let Ok(child) = child {
                say(&format!("child {}", child.id()));
            }
        }
    });
    let boots: Vec<_> = (0..arguments.hosts)
        .map(|number| {
            let image = image.clone();
            tokio::spawn(async move {
                Host::builder()
                    .image(image)
                    .name(format!("killed-{number}"))
                    .engine(engine)
                    .on_step(move |step| say(&format!("{number} {step}")))
                    .start()
                    .await
            })
        })
        .collect();
    let mut hosts = Vec::new();
    for boot in boots {
        hosts.push(boot.await??);
    }
    let virtual_machine = if arguments.virtual_machine {
        let vm = VirtualMachine::builder(Persona::DockerDesktop).start().await?;
        let intercept = Intercept::builder().start(vm.machine())?;
        Some((intercept, vm))
    } else {
        None
    };
    let _ = children.join();
    say("up");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    if let Some((intercept, vm)) = virtual_machine {
        drop(intercept);
        vm.shutdown().await?;
    }
    for host in hosts {
        host.shutdown().await?;
    }
    Ok(())
}

/// One write per line, so that the lines of several threads do not mix. A test that is gone needs none.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
