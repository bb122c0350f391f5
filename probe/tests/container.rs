//! The container's life: whatever happens to a run, its container goes, and no other run's does.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use probe::{
    ContainerSpec, Engine, EngineError, EngineInfo, EngineTrouble, ImageFacts, Interrupt, LabelledContainer,
    NetworkFacts, Order, Protocol, Residents, Route, Spoken, Trouble, run, sweep,
};

/// An engine whose answers a test chooses, and that remembers what was asked of it.
#[derive(Default)]
struct Scripted {
    create: Option<EngineTrouble>,
    output: Option<Result<String, EngineTrouble>>,
    stuck: bool,
    labelled: Vec<LabelledContainer>,
    calls: Mutex<Vec<String>>,
}

impl Scripted {
    fn note(&self, call: &str) {
        self.calls.lock().unwrap().push(call.to_owned());
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

fn error(trouble: EngineTrouble) -> EngineError {
    EngineError { call: "x".to_owned(), endpoint: "y".to_owned(), trouble }
}

impl Engine for Scripted {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(EngineInfo::default())
    }
    async fn network(&self, _: &str) -> Result<Option<NetworkFacts>, EngineError> {
        Ok(None)
    }
    async fn residents(&self, _: &str) -> Result<Residents, EngineError> {
        Ok(Residents::default())
    }
    async fn image(&self, _: &str) -> Result<Option<ImageFacts>, EngineError> {
        Ok(None)
    }
    async fn load_image(&self, _: &'static [u8]) -> Result<(), EngineError> {
        self.note("load");
        Ok(())
    }
    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        self.note(&format!("create {}", spec.name));
        self.create.clone().map_or_else(|| Ok("id".to_owned()), |trouble| Err(error(trouble)))
    }
    async fn run(&self, id: &str, _: &str) -> Result<Spoken, EngineError> {
        self.note(&format!("run {id}"));
        match self.output.clone() {
            Some(output) => output.map(|text| Spoken { text, input: Box::new(()) }).map_err(error),
            None => pending().await,
        }
    }
    async fn publishers(&self, _: u16, _: &str) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
    async fn gone(&self, id: &str) -> bool {
        self.note(&format!("gone {id}"));
        !self.stuck
    }
    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.note(&format!("remove {id}"));
        Ok(())
    }
    async fn labelled(&self, _: &str, _: &str) -> Result<Vec<LabelledContainer>, EngineError> {
        Ok(self.labelled.clone())
    }
    async fn labelled_images(&self, _: &str, _: &str) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }
    async fn remove_image(&self, _: &str) -> Result<bool, EngineError> {
        Ok(true)
    }
}

fn order() -> Order {
    Order {
        run: "r1".to_owned(),
        image: "sha256:0".to_owned(),
        network: "0123".to_owned(),
        route: Route::BridgeGateway { address: Ipv4Addr::new(172, 18, 0, 1) },
        alias: "host.openshell.internal".to_owned(),
        ports: vec![(8080, Protocol::Grpc), (11435, Protocol::Http)],
        hellos: Default::default(),
        timeout: Duration::from_millis(3500),
        deadline: Duration::from_secs(30),
    }
}

const WHOLE: &str = "{\"fact\":\"end\"}\n";

async fn calls_of(engine: Scripted) -> (Vec<String>, Result<(), Trouble>) {
    let spec = order().container(&EngineInfo::default());
    let done = run(&engine, &spec, &Interrupt::never(), async |_| ()).await;
    assert_eq!(done.left, None);
    (engine.calls(), done.output.map(drop))
}

#[tokio::test]
async fn a_dialer_that_has_spoken_is_left_to_end_by_itself() {
    let (calls, output) =
        calls_of(Scripted { output: Some(Ok(WHOLE.to_owned())), ..Scripted::default() }).await;
    assert_eq!(output, Ok(()));
    assert_eq!(calls, ["create openshell-probe-r1", "run id", "gone id"]);
}

#[tokio::test]
async fn a_container_that_does_not_end_is_removed() {
    let engine = Scripted { output: Some(Ok(WHOLE.to_owned())), stuck: true, ..Scripted::default() };
    let (calls, _) = calls_of(engine).await;
    assert_eq!(calls, ["create openshell-probe-r1", "run id", "gone id", "remove id"]);
}

#[tokio::test]
async fn a_run_that_fails_is_removed_at_once() {
    let late = EngineTrouble::Silent { after: Duration::from_secs(1) };
    for output in [Err(late), Ok("{\"fact\":".to_owned()), Ok(String::new())] {
        let (calls, result) = calls_of(Scripted { output: Some(output), ..Scripted::default() }).await;
        assert!(result.is_err());
        assert_eq!(calls, ["create openshell-probe-r1", "run id", "remove id"]);
    }
}

#[tokio::test]
async fn a_creation_without_an_answer_is_removed_by_name() {
    let silent = EngineTrouble::Silent { after: Duration::from_secs(1) };
    let (calls, result) = calls_of(Scripted { create: Some(silent), ..Scripted::default() }).await;
    assert!(matches!(result, Err(Trouble::Container(_))));
    assert_eq!(calls, ["create openshell-probe-r1", "remove openshell-probe-r1"]);
}

#[tokio::test]
async fn a_refused_creation_leaves_nothing_to_remove() {
    let refused = EngineTrouble::Refused { status: 500, message: String::new() };
    let (calls, _) = calls_of(Scripted { create: Some(refused), ..Scripted::default() }).await;
    assert_eq!(calls, ["create openshell-probe-r1"]);
}

#[tokio::test]
async fn an_image_that_vanished_is_loaded_once_more() {
    let missing = EngineTrouble::Refused { status: 404, message: "No such image".to_owned() };
    let (calls, result) = calls_of(Scripted { create: Some(missing), ..Scripted::default() }).await;
    assert!(matches!(result, Err(Trouble::Image(_))));
    assert_eq!(calls, ["create openshell-probe-r1", "load"]);
}

#[tokio::test]
async fn only_expired_containers_of_ours_are_swept() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let container = |id: &str, expires: Option<String>| LabelledContainer {
        id: id.to_owned(),
        labels: expires.map(|expires| (probe::EXPIRES_LABEL.to_owned(), expires)).into_iter().collect(),
    };
    let labelled = vec![
        container("expired", Some((now - 10).to_string())),
        container("live", Some((now + 10).to_string())),
        container("unlabelled", None),
        container("rubbish", Some("soon".to_owned())),
    ];
    let engine = Scripted { labelled, ..Scripted::default() };
    assert_eq!(sweep(&engine).await.unwrap(), 1);
    assert_eq!(engine.calls(), ["remove expired"]);
}

#[test]
fn the_container_is_confined_and_marked() {
    let limited = EngineInfo { memory_limit: true, pids_limit: true, ..EngineInfo::default() };
    let spec = order().container(&limited);
    assert_eq!(
        spec.arguments,
        ["host.openshell.internal", "2000", "3500", "28000", "8080:grpc", "11435:http"]
    );
    assert!(spec.memory.is_some() && spec.pids.is_some());
    let labels: BTreeMap<String, String> = spec.labels;
    assert_eq!(labels[probe::OWNER_LABEL], probe::OWNER);
    assert_eq!(labels[probe::RUN_LABEL], "r1");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(labels[probe::EXPIRES_LABEL].parse::<u64>().unwrap() > now + 30);
    let unlimited = order().container(&EngineInfo::default());
    assert_eq!((unlimited.memory, unlimited.pids), (None, None));
}

#[test]
fn two_runs_never_share_a_name() {
    let names: std::collections::BTreeSet<String> = (0..100).map(|_| probe::new_run()).collect();
    assert_eq!(names.len(), 100);
}
