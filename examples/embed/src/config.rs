//! The model's `config.json`: its sizes, and that it is a model which `bert` can run.

use anychip::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// Sizes of a BERT model, by the names of Hugging Face's `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Which network it is; `bert` is accepted.
    pub model_type: String,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Width between the two layers of the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of attention; they divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f32,
    /// Tokens.
    pub vocab_size: usize,
    /// Positions that have an embedding: no longer text can be read.
    pub max_position_embeddings: usize,
    /// Function between the two layers of the feed-forward part; `gelu` (the exact one) is accepted.
    pub hidden_act: String,
    /// The token that fills up short rows.
    #[serde(default)]
    pub pad_token_id: u32,
}

impl Config {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
        let bad = |why: String| Error::Corrupt { file: path.display().to_string(), offset: 0, why };
        let config: Config = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        let no = |what: &str, has: &str, accepted: &str| {
            Error::unsupported(format!("{}: {what} {has:?}", path.display()), format!("accepted is {accepted}"))
        };
        if config.model_type != "bert" {
            return Err(no("model_type", &config.model_type, "\"bert\""));
        }
        if config.hidden_act != "gelu" {
            return Err(no("hidden_act", &config.hidden_act, "\"gelu\""));
        }
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(bad(format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}")));
        }
        Ok(config)
    }
}
