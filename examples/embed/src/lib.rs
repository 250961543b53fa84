//! Sentence embeddings with a BERT model from Hugging Face's files, on whatever chip anychip finds.
//!
//! `config` and `tokens` read the model's folder; `bert` is the network, written with tensors and naming no chip; `Model`
//! here puts texts into batches and takes embeddings out.
#![deny(missing_docs)]

mod bert;
mod config;
mod tokens;

pub use bert::Bert;
pub use config::Config;
pub use tokens::{MAX_TOKENS, Tokens};

use anychip::{Device, Error, Program, Result, SafeTensors, Tensor};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Tokens of one batch, padding included: enough for every core, little enough to stay in caches.
const BATCH_TOKENS: usize = 4096;

/// What a captured computation depends on: rows, their padded length, and whether there is padding.
type Key = (usize, usize, bool);

/// A model, ready on a device.
pub struct Model {
    tokens: Tokens,
    bert: Bert,
    device: Device,
    /// Captured computations.
    programs: Mutex<HashMap<Key, Arc<Program>>>,
}

impl Model {
    /// Reads `config.json`, `tokenizer.json` and `model.safetensors` of a folder.
    ///
    /// # Errors
    /// Names the file that is missing or damaged.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Model> {
        let folder = folder.as_ref();
        let config = Config::read(&folder.join("config.json"))?;
        let tokens = Tokens::read(&folder.join("tokenizer.json"), &config)?;
        let weights = SafeTensors::open(folder.join("model.safetensors"))?;
        let bert = Bert::new(config, &weights, device)?;
        Ok(Model { tokens, bert, device: device.clone(), programs: Mutex::default() })
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The tokenizer.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The last hidden state of a batch, `[batch, longest, hidden]`; shorter rows are padded, and what stands at padding
    /// is of no meaning.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        let inputs = self.batch(ids)?;
        self.bert.hidden(&inputs[0], inputs.get(1))
    }

    /// One embedding per text, of length 1. Any text will do; what is beyond 256 tokens is not read.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        let ids = texts.iter().map(|t| self.tokens.encode(t.as_ref())).collect::<Result<Vec<_>>>()?;
        self.embed_ids(&ids)
    }

    /// The same from token ids.
    pub fn embed_ids(&self, ids: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        // Texts of like length share a batch, so that little is padded.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&i| ids[i].len());
        let mut started = Vec::new();
        let mut rest = &order[..];
        while !rest.is_empty() {
            let n = batch_size(rest, ids);
            let (now, later) = rest.split_at(n);
            rest = later;
            let rows: Vec<Vec<u32>> = now.iter().map(|&i| ids[i].clone()).collect();
            started.push((now, self.start(&rows)?));
        }
        // All batches are under way; only now is anything waited for.
        let mut out = vec![vec![]; ids.len()];
        for (which, embeddings) in started {
            for (&i, row) in which.iter().zip(embeddings.to_vec2::<f32>()?) {
                out[i] = row;
            }
        }
        Ok(out)
    }

    /// How a batch of rows of token ids is computed: a line per launch, what was fused, which memory.
    pub fn explain(&self, ids: &[Vec<u32>]) -> Result<String> {
        Ok(self.program(&self.batch(ids)?)?.explain())
    }

    /// Starts one batch: `[batch, hidden]`.
    fn start(&self, rows: &[Vec<u32>]) -> Result<Tensor> {
        let inputs = self.batch(rows)?;
        let program = self.program(&inputs)?;
        program.run(&inputs)?.pop().ok_or_else(|| Error::invalid("embed: the program gave no output"))
    }

    /// The captured computation for inputs like these.
    fn program(&self, inputs: &[Tensor]) -> Result<Arc<Program>> {
        let key = (inputs[0].dims()[0], inputs[0].dims()[1], inputs.len() > 1);
        let known = self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(p) = known {
            return Ok(p);
        }
        let p = Program::new(&self.device, inputs, |x| Ok(vec![self.bert.embeddings(&x[0], x.get(1))?]))?;
        let p = Arc::new(p);
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).insert(key, p.clone());
        Ok(p)
    }

    /// Ids `[batch, length]`, padded to the longest row, and, where there is padding, the mask `[batch, length]`: 1 at tokens,
    /// 0 at padding.
    fn batch(&self, rows: &[Vec<u32>]) -> Result<Vec<Tensor>> {
        let config = self.bert.config();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        if longest == 0 || longest > config.max_position_embeddings {
            return Err(Error::invalid(format!(
                "embed: a batch of {} rows, the longest of {longest} tokens; 1 to {} are possible",
                rows.len(),
                config.max_position_embeddings
            )));
        }
        if let Some(row) = rows.iter().position(Vec::is_empty) {
            return Err(Error::invalid(format!("embed: row {row} of a batch has no tokens")));
        }
        if let Some(id) = rows.iter().flatten().find(|&&id| id as usize >= config.vocab_size) {
            return Err(Error::invalid(format!(
                "embed: token id {id} is outside the vocabulary of {}",
                config.vocab_size
            )));
        }
        let padded = |row: &Vec<u32>| {
            row.iter().copied().chain(std::iter::repeat(config.pad_token_id)).take(longest).collect::<Vec<_>>()
        };
        let shape = (rows.len(), longest);
        let mut inputs = vec![Tensor::from_vec(rows.iter().flat_map(padded).collect(), shape, &self.device)?];
        if rows.iter().any(|row| row.len() < longest) {
            let mask = |row: &Vec<u32>| {
                let tokens = row.len();
                (0..longest).map(move |i| if i < tokens { 1f32 } else { 0.0 })
            };
            inputs.push(Tensor::from_vec(rows.iter().flat_map(mask).collect(), shape, &self.device)?);
        }
        Ok(inputs)
    }
}

/// How many of the first rows (shortest first) make a batch: as many as stay within [`BATCH_TOKENS`], and none that is more
/// than a quarter longer than the first, since all are padded to the longest.
fn batch_size(order: &[usize], ids: &[Vec<u32>]) -> usize {
    let first = order.first().map_or(0, |&i| ids[i].len());
    let fits = |n: usize| {
        let longest = ids[order[n - 1]].len();
        longest * n <= BATCH_TOKENS && longest <= first + first / 4 + 4
    };
    (1..=order.len()).take_while(|&n| n == 1 || fits(n)).last().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_rows_of_like_length() {
        let ids: Vec<Vec<u32>> = [2, 3, 4, 60, 61, 256].iter().map(|&n| vec![0; n]).collect();
        let order: Vec<usize> = (0..ids.len()).collect();
        assert_eq!(batch_size(&order, &ids), 3);
        assert_eq!(batch_size(&order[3..], &ids), 2);
        assert_eq!(batch_size(&order[5..], &ids), 1);
        let many = vec![vec![0; 128]; 100];
        let order: Vec<usize> = (0..100).collect();
        assert_eq!(batch_size(&order, &many), BATCH_TOKENS / 128);
    }
}
