//! Texts to token ids, as the model was trained.

use crate::Config;
use anychip::{Error, Result};
use std::path::Path;
use tokenizers::{Tokenizer, TruncationParams};

/// What is beyond is not read: the length for which all-MiniLM-L6-v2 was trained is 128, its users read 256.
pub const MAX_TOKENS: usize = 256;

/// The tokenizer.
pub struct Tokens(Tokenizer);

impl Tokens {
    /// Reads a `tokenizer.json`. Padding that it asks for is left to the batches; truncation is at [`MAX_TOKENS`], or at the
    /// model's last position.
    pub fn read(path: &Path, config: &Config) -> Result<Tokens> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        let bad =
            |e: tokenizers::Error| Error::Corrupt { file: path.display().to_string(), offset: 0, why: e.to_string() };
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(bad)?;
        let max_length = MAX_TOKENS.min(config.max_position_embeddings);
        tokenizer
            .with_padding(None)
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(bad)?;
        Ok(Tokens(tokenizer))
    }

    /// Ids of a text, beginning and end marks included: never none, at most [`MAX_TOKENS`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.0.encode_fast(text, true).map_err(|e| Error::invalid(format!("the text cannot be tokenized: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }
}
