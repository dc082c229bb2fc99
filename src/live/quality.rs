//! What a codec does to what is generated: next-token distributions along the unsplit model's own answer.

use anyhow::Result;
use splitbench_codec::Activation;

use super::generate::RowCodec;
use crate::model::source::Model;
use crate::model::split::to_values;
use crate::model::{Cache, DecoderPart, Divergence, LogSumExp, SplitPoint, divergence};

/// The divergence at each token of `answer` after `prompt`, both fed to the model as they are (teacher forcing): the
/// prompt in chunks behind the first codec, then token after token behind the second. The last token predicts none.
pub fn forced_divergences(
    model: &Model,
    split: SplitPoint,
    codecs: [&RowCodec; 2],
    prompt: &[u32],
    answer: &[u32],
    chunk: usize,
) -> Result<Vec<Divergence>> {
    let decoder = model.decoder()?;
    let tokens = prompt.len() + answer.len();
    let cache = |part: DecoderPart| Cache::new(&model.config, part.layers(&model.config), tokens);
    let mut whole = cache(DecoderPart::Whole);
    let (mut client, mut server) = (cache(DecoderPart::Client(split)), cache(DecoderPart::Server(split)));
    let mut out = Vec::with_capacity(answer.len());
    let forced = &answer[..answer.len().saturating_sub(1)];
    let inputs = prompt.chunks(chunk).map(|ids| (ids, codecs[0])).chain(forced.chunks(1).map(|id| (id, codecs[1])));
    let chunks = prompt.chunks(chunk).len();
    for (nth, (ids, codec)) in inputs.enumerate() {
        let embedded = to_values(&decoder.embed(ids)?)?;
        let expected = decoder.extend_to_last(embedded.clone(), &mut whole)?;
        let mut sent = embedded;
        decoder.extend(&mut sent, &mut client)?;
        let sent = Activation::new(ids.len(), model.config.hidden_size, sent)?;
        let received = splitbench_codec::decode(&codec.encode(&sent)?)?;
        let got = decoder.extend_to_last(received.values().to_vec(), &mut server)?;
        // Only the last chunk of the prompt predicts a token.
        if nth + 1 >= chunks {
            let (p, q) = (decoder.step_logits(&expected, 1)?, decoder.step_logits(&got, 1)?);
            out.push(divergence((&p, LogSumExp::new(&p)), (&q, LogSumExp::new(&q))));
        }
    }
    Ok(out)
}
