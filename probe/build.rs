//! Builds what the program carries: the static dialer, an image archive around it, and the build id.
//!
//! The archive is the same bytes for the same dialer, so the id that an engine will give the image is known here:
//! - the classic image store names an image by the digest of its config,
//! - the containerd store by the digest of its manifest, which it takes from the OCI layout in the same archive.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use build_support::Program;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where the dialer is in its image.
const ENTRYPOINT: &str = "/openshell-dialer";
/// The label that marks everything this program leaves with an engine (`probe/src/image.rs` reads it from here).
const OWNER_LABEL: &str = "openshell-probe.owner";
const OWNER: &str = "openshell-probe";

fn main() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let architecture = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => return Err(format!("the dialer is written for x86_64 and aarch64, not for {other}").into()),
    };
    build_support::emit(&package, Program::Probe, "OPENSHELL_BUILD_ID")?;

    let dialer = compile_dialer(&out, &target)?;
    let image = Image::new(&dialer, architecture)?;
    fs::write(out.join("image.tar"), &image.archive)?;
    println!("cargo::rustc-env=OPENSHELL_IMAGE_ARCHITECTURE={architecture}");
    println!("cargo::rustc-env=OPENSHELL_IMAGE_CONFIG={}", image.config);
    println!("cargo::rustc-env=OPENSHELL_IMAGE_MANIFEST={}", image.manifest);
    println!("cargo::rustc-env=OPENSHELL_IMAGE_LAYER={}", image.layer);
    println!("cargo::rustc-env=OPENSHELL_OWNER_LABEL={OWNER_LABEL}");
    println!("cargo::rustc-env=OPENSHELL_OWNER={OWNER}");
    Ok(())
}

/// The dialer goes straight to rustc, not through cargo: it has no dependency, and its flags differ from ours.
fn compile_dialer(out: &Path, target: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let sources = out.join("dialer");
    fs::create_dir_all(&sources)?;
    for (name, content) in dialer::SOURCES {
        fs::write(sources.join(name), content)?;
    }
    let program = out.join("openshell-dialer");
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc
        .args([
            "--edition",
            "2024",
            "--crate-name",
            "openshell_dialer",
            "--crate-type",
            "bin",
            "--target",
            target,
        ])
        .args(["-C", "target-feature=+crt-static", "-C", "panic=abort", "-C", "opt-level=z", "-C", "lto=fat"])
        .args(["-C", "codegen-units=1", "-C", "strip=symbols"])
        // The same bytes from every folder: the image's id is their digest.
        .arg(format!("--remap-path-prefix={}=/openshell", out.display()))
        .arg("-o")
        .arg(&program)
        .arg(sources.join(dialer::SOURCES[0].0));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let output = rustc.output()?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("failed to compile the dialer: {rustc:?}\n{talk}").into());
    }
    Ok(fs::read(&program)?)
}

/// An archive that `POST /images/load` of every Docker since 20.10 takes, and the digests it will be known by.
struct Image {
    archive: Vec<u8>,
    config: String,
    manifest: String,
    layer: String,
}

impl Image {
    fn new(dialer: &[u8], architecture: &str) -> Result<Self, Box<dyn Error>> {
        let layer = archive(&[(ENTRYPOINT.trim_start_matches('/').to_owned(), dialer.to_vec(), 0o755)])?;
        let layer_digest = digest(&layer);
        let config = serde_json::to_vec(&json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": [ENTRYPOINT],
                "User": "65534:65534",
                "WorkingDir": "/",
                "Labels": { OWNER_LABEL: OWNER },
            },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": OWNER }],
        }))?;
        let config_digest = digest(&config);
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let manifest_digest = digest(&manifest);
        let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        listed["platform"] = json!({ "architecture": architecture, "os": "linux" });
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [listed],
        }))?;
        // No tag: the image is used by its id alone.
        let docker = serde_json::to_vec(&json!([{
            "Config": blob(&config_digest),
            "RepoTags": null,
            "Layers": [blob(&layer_digest)],
        }]))?;
        let layout = serde_json::to_vec(&json!({ "imageLayoutVersion": "1.0.0" }))?;
        let archive = archive(&[
            (blob(&config_digest), config, 0o644),
            (blob(&layer_digest), layer, 0o644),
            (blob(&manifest_digest), manifest, 0o644),
            ("index.json".to_owned(), index, 0o644),
            ("manifest.json".to_owned(), docker, 0o644),
            ("oci-layout".to_owned(), layout, 0o644),
        ])?;
        Ok(Self { archive, config: config_digest, manifest: manifest_digest, layer: layer_digest })
    }
}

/// A tar of files, always the same bytes for the same files: no owner, no times.
fn archive(files: &[(String, Vec<u8>, u32)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, path, content.as_slice())?;
    }
    Ok(builder.into_inner()?)
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(content), "size": content.len() })
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}
