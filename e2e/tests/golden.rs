//! The rules that Docker, UFW, firewalld and the others really make of a host, as far as a packet to the host itself meets
//! them: `e2e/golden/NAME.rules`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::golden::{diff, native, save, tables};
use harness::{Engine, Host, Network, NetworkInfo, Posture, Ufw};
use rstest::rstest;

/// Writes the files anew where it is set.
const UPDATE: &str = "OPENSHELL_UPDATE_GOLDEN";

/// The files' names.
const NAMES: [&str; 8] = [
    "docker",
    "policy-drop",
    "ufw-default-deny",
    "ufw-default-reject",
    "ufw-brev",
    "ufw-users-rules",
    "firewalld",
    "nft-table",
];

/// UFW's rules for IPv6 are the same as its others, and Docker has some of its own: once each.
const WITH_IPV6: [&str; 2] = ["docker", "ufw-default-deny"];

fn posture(name: &str) -> Posture {
    match name {
        "policy-drop" => Posture::InputPolicyDrop,
        "ufw-default-deny" => Ufw::default_deny().into(),
        "ufw-default-reject" => Ufw::default_reject().into(),
        "ufw-brev" => Ufw::brev().into(),
        "ufw-users-rules" => Ufw::default_deny()
            .rule("deny 8080/tcp")
            .rule("allow from 172.18.0.0/16 to 172.18.0.1 port 11435 proto tcp")
            .into(),
        "firewalld" => Posture::Firewalld,
        "nft-table" => Posture::NftDrop,
        _ => Posture::Open,
    }
}

#[rstest]
#[tokio::test]
async fn the_rules_are_as_written_down(
    #[values(
        "docker",
        "policy-drop",
        "ufw-default-deny",
        "ufw-default-reject",
        "ufw-brev",
        "ufw-users-rules",
        "firewalld",
        "nft-table"
    )]
    name: &str,
) -> Result<()> {
    let host = Host::builder().engine(Engine::Docker).start().await?;
    let network = host.engine()?.create_network(&Network::openshell_docker()).await?;
    let posture = posture(name);
    host.apply(&posture, &network).await?;
    let head = head(&host, &posture).await?;
    let found = rules(&host, &network, WITH_IPV6.contains(&name)).await?;
    let path = folder().join(name).with_extension("rules");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(folder())?;
        return std::fs::write(&path, format!("{head}\n{found}")).with_context(|| path.display().to_string());
    }
    let golden = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // The versions are for people: it is the rules that have to be the same.
    let (written, golden) = golden.split_once("\n\n").context("no head")?;
    let difference = diff(golden, &found);
    ensure!(
        difference.is_empty(),
        "{} was\n{written}\nand the host is\n{head}{difference}hint: {UPDATE}=1",
        path.display()
    );
    Ok(())
}

#[test]
fn every_file_is_compared() -> Result<()> {
    let files = std::fs::read_dir(folder())?.map(|entry| Ok(entry?.path()));
    let files: BTreeSet<PathBuf> = files.collect::<Result<_>>()?;
    assert_eq!(files, NAMES.map(|name| folder().join(name).with_extension("rules")).into());
    Ok(())
}

/// In the checkout that this runs in, which need not be where the test was compiled.
fn folder() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR");
    Path::new(&package.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())).join("golden")
}

async fn sh(host: &Host, line: &str) -> Result<String> {
    Ok(host.command("sh").args(["-ec", line]).run().await?)
}

async fn head(host: &Host, posture: &Posture) -> Result<String> {
    let tool = match posture {
        Posture::Ufw(_) => "ufw version | head -n 1",
        Posture::Firewalld => "echo firewalld $(firewall-cmd --version)",
        Posture::NftDrop => "nft --version",
        _ => "true",
    };
    let versions = format!("docker version -f 'docker {{{{.Server.Version}}}}'; iptables --version; {tool}");
    let versions = sh(host, &versions).await?;
    let versions: Vec<&str> = versions.lines().collect();
    Ok(format!(
        "# Posture: {posture}. What a packet from a sandbox to its host, and the answer, may meet,\n\
         # with Docker's network openshell-docker. Image debian-13: {}.\n\
         # {UPDATE}=1 cargo nextest run -p openshell-e2e -E 'binary(golden)' writes it anew.\n",
        versions.join(", ")
    ))
}

/// All of them, without what is another one on every run.
async fn rules(host: &Host, network: &NetworkInfo, ipv6: bool) -> Result<String> {
    let saved = [("ip", "iptables-nft-save"), ("ip6", "ip6tables-nft-save")];
    let (mut text, mut known) = (String::new(), BTreeSet::new());
    for (family, program) in saved {
        let output = sh(host, program).await?;
        known.extend(tables(&output).into_iter().map(|table| format!("table {family} {table}")));
        if family == "ip" || ipv6 {
            let rules = save(&output);
            let nothing = if rules.is_empty() { ": nothing" } else { "" };
            text += &format!("# {program}{nothing}\n{rules}");
        }
    }
    for table in sh(host, "nft list tables").await?.lines().filter(|table| !known.contains(*table)) {
        text += &format!("# nft list {table}\n{}", native(&sh(host, &format!("nft -s list {table}")).await?));
    }
    Ok(text.replace(&network.bridge, "br-SANDBOX"))
}
