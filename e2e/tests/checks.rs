//! What a check leaves behind, and that checks do not disturb each other.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use assert_cmd::assert::OutputAssertExt;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions, ListImagesOptions};
use e2e::lab::{Lab, PROBE};
use harness::Posture;
use predicates::str::contains;
use probe::{EXPIRES_LABEL, OWNER, OWNER_LABEL, RUN_LABEL, Verdict};

async fn containers(lab: &Lab) -> Result<Vec<String>> {
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let found = lab.host.engine()?.client().list_containers(Some(all)).await?;
    Ok(found.into_iter().filter_map(|container| container.id).collect())
}

async fn images(lab: &Lab) -> Result<usize> {
    let all = ListImagesOptions { all: true, ..ListImagesOptions::default() };
    Ok(lab.host.engine()?.client().list_images(Some(all)).await?.len())
}

#[tokio::test]
async fn a_check_leaves_its_image_and_clean_removes_it() -> Result<()> {
    let lab = Lab::start().await?;
    lab.check().await?;
    assert_eq!(containers(&lab).await?, Vec::<String>::new());
    assert_eq!(images(&lab).await?, 1, "both checks used one image");
    let planned = lab.host.command(PROBE).args(["clean", "--dry-run"]).run().await?;
    assert!(!planned.trim().is_empty());
    assert_eq!(images(&lab).await?, 1, "a dry run changes nothing");
    lab.host.command(PROBE).arg("clean").run().await?;
    assert_eq!(images(&lab).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_prints_the_calls_and_makes_none() -> Result<()> {
    let lab = Lab::start().await?;
    let output = lab.host.command(PROBE).args(["check", "--dry-run"]).output().await?;
    output.assert().success().stdout(contains("/containers/create"));
    assert_eq!(images(&lab).await?, 0);
    assert_eq!(containers(&lab).await?, Vec::<String>::new());
    Ok(())
}

/// An interrupted check removes its container, and says with what it ended.
#[tokio::test]
async fn an_interrupted_check_leaves_no_container() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(8080)).await?;
    for signal in ["INT", "TERM"] {
        // The time-out is so long that the signal comes first.
        let arguments = ["check", "--port", "8080", "--timeout", "20s"];
        let mut process = lab.host.command(PROBE).args(arguments).spawn().await?;
        until_running(&lab).await?;
        lab.host.command("kill").args([format!("-{signal}"), process.pid().to_string()]).run().await?;
        let status = tokio::time::timeout(Duration::from_secs(10), process.wait()).await??;
        assert!(!status.success(), "{status}");
        assert_eq!(containers(&lab).await?, Vec::<String>::new(), "after SIG{signal}");
    }
    Ok(())
}

/// SIGKILL cannot be caught: the container ends by itself with its dials, and the engine removes it.
#[tokio::test]
async fn the_container_of_a_killed_check_goes_by_itself() -> Result<()> {
    let lab = Lab::start().await?;
    lab.apply(Posture::drop_port(8080)).await?;
    let process = lab.host.command(PROBE).args(["check", "--port", "8080"]).spawn().await?;
    until_running(&lab).await?;
    drop(process);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let gone = async {
        while !containers(&lab).await?.is_empty() {
            tick.tick().await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.context("it is still there")?
}

async fn until_running(lab: &Lab) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let running = async {
        loop {
            let found = lab.host.engine()?.client().list_containers(None).await?;
            if !found.is_empty() {
                return anyhow::Ok(());
            }
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), running).await.context("it never ran")?
}

/// A leftover of ours past its expiry is swept by the next check; one that has not expired, and everybody else's, stay.
#[tokio::test]
async fn only_expired_leftovers_of_ours_are_swept() -> Result<()> {
    let lab = Lab::start().await?;
    // A first check brings the image that the leftovers are made of.
    lab.check().await?;
    let client = lab.host.engine()?.client();
    let image = client.list_images(None::<ListImagesOptions>).await?.remove(0).id;
    // A container has its image's labels too, so somebody else's has another image.
    let import = "tar -c -T /dev/null | docker import - somebody-elses";
    lab.host.command("sh").args(["-c", import]).run().await?;
    let create = async |name: &str, image: &str, labels: &[(&str, &str)]| {
        let labels: HashMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["none".to_owned()]),
            labels: Some(labels),
            ..ContainerCreateBody::default()
        };
        let options =
            CreateContainerOptions { name: Some(name.to_owned()), ..CreateContainerOptions::default() };
        client.create_container(Some(options), body).await
    };
    let (past, future) = ("1000000000", "9000000000");
    let expired = [(OWNER_LABEL, OWNER), (RUN_LABEL, "a"), (EXPIRES_LABEL, past)];
    let expired = create("expired", &image, &expired).await?.id;
    let live = [(OWNER_LABEL, OWNER), (RUN_LABEL, "b"), (EXPIRES_LABEL, future)];
    let live = create("live", &image, &live).await?.id;
    let others = create("others", "somebody-elses", &[(EXPIRES_LABEL, past)]).await?.id;
    lab.check().await?;
    let left = containers(&lab).await?;
    assert!(!left.contains(&expired), "the expired one is swept");
    assert!(left.contains(&live) && left.contains(&others), "the others stay: {left:?}");
    Ok(())
}

/// Many at once, each with its own container.
#[tokio::test]
async fn checks_at_once_do_not_disturb_each_other() -> Result<()> {
    let lab = Lab::start().await?;
    let (a, b, c) = tokio::try_join!(lab.check(), lab.check(), lab.check())?;
    for answer in [a, b, c] {
        assert_eq!(answer.code, 0, "{}", answer.text);
        assert_eq!(answer.of(8080).0, Verdict::Ok);
    }
    assert_eq!(containers(&lab).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn the_report_is_what_the_schema_says() -> Result<()> {
    let lab = Lab::start().await?;
    let schema: serde_json::Value =
        serde_json::from_str(&lab.host.command(PROBE).arg("schema").run().await?)?;
    let answer = lab.check().await?;
    let report = serde_json::to_value(&answer.report)?;
    let required = schema["required"].as_array().context("the schema's required fields")?;
    for field in required {
        let field = field.as_str().context("a name")?;
        assert!(report.get(field).is_some(), "{field}");
    }
    let properties = schema["properties"].as_object().context("the schema's fields")?;
    for field in report.as_object().context("an object")?.keys() {
        assert!(properties.contains_key(field), "{field} is not in the schema");
    }
    Ok(())
}
