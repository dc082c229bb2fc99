//! The pocket model's tokenizer: byte-level BPE trained on the corpus, with a BOS token put first as Llama 3's does.

use anyhow::{Result, anyhow};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder};

/// First token of every text.
pub const BOS: &str = "<|begin_of_text|>";

/// Trains a vocabulary of `vocabulary` tokens, BOS and the 256 bytes included.
pub fn train(texts: &[String], vocabulary: usize) -> Result<Tokenizer> {
    let bytes = ByteLevel::new(false, true, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(bytes))
        .with_decoder(Some(bytes))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .build()
        .map_err(|e| anyhow!("pocket tokenizer: {e}"))?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocabulary)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(BOS, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts.iter()).map_err(|e| anyhow!("training the pocket tokenizer: {e}"))?;
    let id = tokenizer.token_to_id(BOS).ok_or_else(|| anyhow!("the trained tokenizer has no {BOS}"))?;
    let first = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(|e| anyhow!("{e}"))?
        .special_tokens(vec![(BOS, id)])
        .build()?;
    let mut tokenizer = Tokenizer::from(tokenizer);
    tokenizer.with_post_processor(Some(first));
    Ok(tokenizer)
}
