//! An engine that asks but never changes: questions go through, changes are only written down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::docker::create_body;
use super::error::EngineError;
use super::{
    ContainerSpec, Engine, EngineInfo, ImageFacts, LabelledContainer, NetworkFacts, Residents, Spoken,
};
use crate::image;

/// Passes questions on to `engine` and keeps every call as one line, in order.
#[derive(Debug)]
pub struct DryRun<E> {
    engine: E,
    calls: Mutex<Vec<String>>,
    loaded: AtomicBool,
}

impl<E: Engine> DryRun<E> {
    /// A rehearsal with `engine`.
    #[must_use]
    pub fn new(engine: E) -> Self {
        Self { engine, calls: Mutex::new(Vec::new()), loaded: AtomicBool::new(false) }
    }

    /// The calls so far: those that were made begin with `asked`, those that were not with `would`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

/// Stands for an id that only a real call would give.
const UNKNOWN_ID: &str = "<id>";

impl<E: Engine> Engine for DryRun<E> {
    fn is_rehearsal(&self) -> bool {
        true
    }

    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.note("asked GET /info".to_owned());
        self.engine.info().await
    }

    async fn network(&self, name: &str) -> Result<Option<NetworkFacts>, EngineError> {
        self.note(format!("asked GET /networks/{name}"));
        self.engine.network(name).await
    }

    async fn residents(&self, network: &str) -> Result<Residents, EngineError> {
        self.note(format!("asked GET /networks/{network}"));
        self.engine.residents(network).await
    }

    async fn image(&self, id: &str) -> Result<Option<ImageFacts>, EngineError> {
        if self.loaded.load(Ordering::Relaxed) {
            // As if the archive had been loaded.
            let facts = image::carried();
            return Ok((facts.id == id).then_some(facts));
        }
        self.note(format!("asked GET /images/{id}/json"));
        self.engine.image(id).await
    }

    async fn load_image(&self, archive: &'static [u8]) -> Result<(), EngineError> {
        self.note(format!("would POST /images/load?quiet=true ({} bytes)", archive.len()));
        self.loaded.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        // Through a value, whose keys are sorted.
        let body = serde_json::to_value(create_body(spec)).map(|body| body.to_string()).unwrap_or_default();
        self.note(format!("would POST /containers/create?name={} {body}", spec.name));
        Ok(UNKNOWN_ID.to_owned())
    }

    async fn run(&self, id: &str, _last_line: &str) -> Result<Spoken, EngineError> {
        self.note(format!(
            "would POST /containers/{id}/attach?stream=true&stdin=true&stdout=true&stderr=true"
        ));
        self.note(format!("would POST /containers/{id}/start"));
        Ok(Spoken { text: String::new(), input: Box::new(()) })
    }

    async fn publishers(&self, port: u16, besides: &str) -> Result<Vec<String>, EngineError> {
        self.note(format!("asked GET /containers/json?filters={{\"publish\":[\"{port}/tcp\"]}}"));
        self.engine.publishers(port, besides).await
    }

    async fn gone(&self, id: &str) -> bool {
        self.note(format!("would POST /containers/{id}/wait?condition=removed"));
        true
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.note(format!("would DELETE /containers/{id}?force=true&v=true"));
        Ok(())
    }

    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<LabelledContainer>, EngineError> {
        self.note(format!("asked GET /containers/json?all=true&filters={{\"label\":[\"{key}={value}\"]}}"));
        self.engine.labelled(key, value).await
    }

    async fn labelled_images(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError> {
        self.note(format!("asked GET /images/json?all=true&filters={{\"label\":[\"{key}={value}\"]}}"));
        self.engine.labelled_images(key, value).await
    }

    async fn remove_image(&self, id: &str) -> Result<bool, EngineError> {
        self.note(format!("would DELETE /images/{id}"));
        Ok(true)
    }
}
