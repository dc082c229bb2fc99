//! What a model is called where a report shows it.

use super::gguf;
use super::place::TOKENIZER;

/// What a model is called where a report shows it: of a path or a place on the hub the last part, without a GGUF file's ending and the
/// number of its part. As many parts before it stand with it as tell it from `all` models of the report, its whole name where none do.
pub fn short_name<'m>(model: &str, all: impl IntoIterator<Item = &'m str>) -> String {
    let own = parts(model);
    let others: Vec<Vec<String>> = all.into_iter().filter(|other| *other != model).map(parts).collect();
    let last = |parts: &[String], count: usize| parts[parts.len().saturating_sub(count)..].join("/");
    let name = |count: &usize| others.iter().all(|other| last(other, *count) != last(&own, *count));
    let most = others.iter().map(Vec::len).fold(own.len(), usize::max);
    let found = (1..=most).find(name).map(|count| last(&own, count)).filter(|name| !name.is_empty());
    found.unwrap_or_else(|| model.to_string())
}

/// The parts of a model's place, folders first.
fn parts(model: &str) -> Vec<String> {
    let (place, tokenizer) = model.split_once(TOKENIZER).map_or((model, ""), |(place, _)| (place, "+tokenizer"));
    // A file of a repository on the hub lies in it; a pattern that chooses one belongs to the name.
    let place = match place.rsplit_once(':') {
        Some((before, file)) if gguf::is_gguf(file) => format!("{before}/{file}"),
        _ => place.to_string(),
    };
    let mut parts: Vec<String> = place.split(['/', '\\']).filter(|part| !part.is_empty()).map(String::from).collect();
    if let Some(last) = parts.last_mut() {
        if gguf::is_gguf(last) {
            let whole = gguf::part(last).map_or(last.clone(), |(whole, ..)| whole);
            *last = whole[..whole.len() - ".gguf".len()].to_string();
        }
        *last += tokenizer;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_called_by_the_end_of_their_place() {
        let alone = |name| short_name(name, [name]);
        for (place, name) in [
            ("pocket", "pocket"),
            ("/some/where/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
            ("SmolLM2-135M-Instruct.Q4_1.GGUF", "SmolLM2-135M-Instruct.Q4_1"),
            ("/m/Qwen-q8_0-00001-of-00003.gguf", "Qwen-q8_0"),
            ("/m/odd-1-of-3.gguf", "odd-1-of-3"),
            ("checkpoints/step_100/", "step_100"),
            ("C:\\models\\a.gguf", "a"),
            ("owner/name", "name"),
            ("owner/name:q8/m-Q8_0-00001-of-00002.gguf", "m-Q8_0"),
            ("owner/name:Q4_K_M", "name:Q4_K_M"),
            ("/m/a.gguf+tokenizer=/t/tokenizer.json", "a+tokenizer"),
            ("/", "/"),
            (".gguf", ".gguf"),
        ] {
            assert_eq!(alone(place), name);
        }
    }

    #[test]
    fn models_that_would_show_alike_keep_what_tells_them_apart() {
        let all = ["/a/x/m.gguf", "/b/x/m.gguf", "/b/y/m.gguf", "m", "n.gguf", "/c/n", "/c/n.gguf", "pocket"];
        let names = all.map(|name| short_name(name, all));
        assert_eq!(names, ["a/x/m", "b/x/m", "y/m", "m", "n", "/c/n", "/c/n.gguf", "pocket"]);
        let tokenizers = ["/m/a.gguf+tokenizer=/t/1.json", "/m/a.gguf+tokenizer=/t/2.json"];
        assert_eq!(tokenizers.map(|name| short_name(name, tokenizers)), tokenizers);
    }
}
