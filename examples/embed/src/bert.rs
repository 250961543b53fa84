//! BERT, written with tensors: the network of all-MiniLM-L6-v2. Nothing here knows which chip computes it.

use crate::Config;
use anychip::{DType, Device, Error, Result, SafeTensors, Tensor};

/// The network with its weights.
pub struct Bert {
    config: Config,
    words: Tensor,
    positions: Tensor,
    /// Embedding of "first sentence", the only one here.
    segment: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Queries, keys and values in one product.
    qkv: Linear,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// x · weightᵀ + bias, weight `[out, in]`.
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

/// The weights of a file, taken by name and checked against the shape that the configuration asks for.
struct Weights<'a> {
    file: &'a SafeTensors,
    device: &'a Device,
}

impl Bert {
    /// Takes the weights by the names that Hugging Face gives them, with or without the prefix `bert.`.
    ///
    /// # Errors
    /// Names a weight that is missing or has another shape than the configuration says.
    pub fn new(config: Config, file: &SafeTensors, device: &Device) -> Result<Bert> {
        let w = Weights { file, device };
        let (h, wide) = (config.hidden_size, config.intermediate_size);
        let e = "embeddings";
        let layer = |n: usize| -> Result<Layer> {
            let l = format!("encoder.layer.{n}");
            let own = format!("{l}.attention.self");
            Ok(Layer {
                qkv: w.fused([format!("{own}.query"), format!("{own}.key"), format!("{own}.value")], h)?,
                attended: w.linear(&format!("{l}.attention.output.dense"), h, h)?,
                attended_norm: w.norm(&format!("{l}.attention.output.LayerNorm"), &config)?,
                up: w.linear(&format!("{l}.intermediate.dense"), wide, h)?,
                down: w.linear(&format!("{l}.output.dense"), h, wide)?,
                down_norm: w.norm(&format!("{l}.output.LayerNorm"), &config)?,
            })
        };
        let types = w.rows(&format!("{e}.token_type_embeddings.weight"), h)?;
        Ok(Bert {
            words: w.take(&format!("{e}.word_embeddings.weight"), &[config.vocab_size, h])?,
            positions: w.take(&format!("{e}.position_embeddings.weight"), &[config.max_position_embeddings, h])?,
            segment: types.get(0)?,
            norm: w.norm(&format!("{e}.LayerNorm"), &config)?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The last hidden state `[batch, length, hidden]` of ids `[batch, length]`; the mask, of the same shape, is 1 at tokens
    /// and 0 at padding.
    pub fn hidden(&self, ids: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (batch, length) = (ids.dim(0)?, ids.dim(1)?);
        let hidden = self.config.hidden_size;
        let seen = match mask {
            Some(mask) => Some(mask.gt(0.5)?.reshape((batch, 1, 1, length))?),
            None => None,
        };
        let places = self.positions.narrow(0, 0, length)?.add(&self.segment)?;
        let x = self.words.embedding(ids)?.add(&places)?;
        let mut x = self.norm.of(&x.reshape((batch * length, hidden))?)?;
        for layer in &self.layers {
            x = layer.of(&x, batch, self.config.num_attention_heads, seen.as_ref())?;
        }
        x.reshape((batch, length, hidden))
    }

    /// Embeddings `[batch, hidden]` of length 1: the mean of the last hidden state over the tokens, normalised.
    pub fn embeddings(&self, ids: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let x = self.hidden(ids, mask)?;
        let mean = match mask {
            Some(mask) => x.mul(mask.unsqueeze(-1)?)?.sum(1)?.div(mask.sum_keepdim(1)?)?,
            None => x.mean(1)?,
        };
        let length = mean.sqr()?.sum_keepdim(-1)?.sqrt()?.maximum(1e-12)?;
        mean.div(length)
    }
}

impl Layer {
    /// `[batch · length, hidden]` to the same.
    fn of(&self, x: &Tensor, batch: usize, heads: usize, seen: Option<&Tensor>) -> Result<Tensor> {
        let hidden = x.dim(1)?;
        let qkv = self.qkv.of(x)?.reshape([batch as i64, -1, 3, heads as i64, (hidden / heads) as i64])?;
        let qkv = qkv.permute([2, 0, 3, 1, 4])?;
        let seen = qkv.get(0)?.attention(&qkv.get(1)?, &qkv.get(2)?, seen, None, false)?;
        let seen = seen.permute([0, 2, 1, 3])?.reshape((-1, hidden as i64))?;
        let x = self.attended_norm.of(&self.attended.of(&seen)?.add(x)?)?;
        let wide = self.up.of(&x)?.gelu()?;
        self.down_norm.of(&self.down.of(&wide)?.add(&x)?)
    }
}

impl Linear {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight.t()?)?.add(&self.bias)
    }
}

impl Norm {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }
}

impl Weights<'_> {
    fn any(&self, name: &str) -> Result<Tensor> {
        let prefixed = format!("bert.{name}");
        let name = if self.file.shape(&prefixed).is_some() { prefixed.as_str() } else { name };
        let weight = self.file.tensor(name, self.device)?;
        match weight.dtype() {
            DType::F32 => Ok(weight),
            _ => weight.to_dtype(DType::F32)?.constant(),
        }
    }

    fn take(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let weight = self.any(name)?;
        if weight.dims() != shape {
            return Err(Error::ShapeMismatch(format!(
                "weight {name} has shape {:?}, the configuration asks for {shape:?}",
                weight.dims()
            )));
        }
        Ok(weight)
    }

    /// A table of at least one row of this width.
    fn rows(&self, name: &str, width: usize) -> Result<Tensor> {
        let weight = self.any(name)?;
        match *weight.dims() {
            [rows, w] if rows > 0 && w == width => Ok(weight),
            _ => Err(Error::ShapeMismatch(format!(
                "weight {name} has shape {:?}, the configuration asks for [1 or more, {width}]",
                weight.dims()
            ))),
        }
    }

    fn linear(&self, name: &str, out: usize, from: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.take(&format!("{name}.weight"), &[out, from])?,
            bias: self.take(&format!("{name}.bias"), &[out])?,
        })
    }

    /// Three square layers as one, so that their input is read once. Joined on the host: it is then a weight like the others.
    fn fused(&self, names: [String; 3], width: usize) -> Result<Linear> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in &names {
            let part = self.linear(name, width, width)?;
            weight.extend(part.weight.to_vec::<f32>()?);
            bias.extend(part.bias.to_vec::<f32>()?);
        }
        Ok(Linear {
            weight: Tensor::from_vec(weight, (3 * width, width), self.device)?.constant()?,
            bias: Tensor::from_vec(bias, 3 * width, self.device)?.constant()?,
        })
    }

    fn norm(&self, name: &str, config: &Config) -> Result<Norm> {
        let shape = [config.hidden_size];
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), &shape)?,
            bias: self.take(&format!("{name}.bias"), &shape)?,
            eps: config.layer_norm_eps,
        })
    }
}
