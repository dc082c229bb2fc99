//! GGUF files as a test wants them, wrong ones among them.

use std::collections::BTreeMap;

/// What a file is written from.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    /// Type number and bytes of each value.
    pub keys: BTreeMap<String, (u32, Vec<u8>)>,
    pub tensors: Vec<GgufTensor>,
}

#[derive(Clone)]
pub struct GgufTensor {
    pub name: String,
    /// Rows first.
    pub shape: Vec<u64>,
    pub kind: u32,
    pub data: Vec<u8>,
    /// In place of the right one.
    pub offset: Option<u64>,
}

impl GgufTensor {
    pub fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { name: name.into(), shape: shape.iter().map(|n| *n as u64).collect(), kind: 0, data, offset: None }
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl GgufFile {
    pub fn new() -> Self {
        Self { magic: *b"GGUF", version: 3, keys: BTreeMap::new(), tensors: Vec::new() }
    }

    pub fn raw(&mut self, key: &str, kind: u32, bytes: Vec<u8>) {
        self.keys.insert(key.into(), (kind, bytes));
    }

    pub fn text(&mut self, key: &str, text: &str) {
        self.raw(key, 8, string(text));
    }

    pub fn count(&mut self, key: &str, value: usize) {
        self.raw(key, 4, (value as u32).to_le_bytes().to_vec());
    }

    pub fn number(&mut self, key: &str, value: f64) {
        self.raw(key, 6, (value as f32).to_le_bytes().to_vec());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, 7, vec![value.into()]);
    }

    pub fn texts(&mut self, key: &str, texts: &[&str]) {
        let head = [&8u32.to_le_bytes()[..], &(texts.len() as u64).to_le_bytes()].concat();
        self.raw(key, 9, head.into_iter().chain(texts.iter().flat_map(|text| string(text))).collect());
    }

    pub fn numbers(&mut self, key: &str, numbers: &[i32]) {
        let head = [&5u32.to_le_bytes()[..], &(numbers.len() as u64).to_le_bytes()].concat();
        self.raw(key, 9, head.into_iter().chain(numbers.iter().flat_map(|n| n.to_le_bytes())).collect());
    }

    pub fn tensor(&mut self, name: &str) -> &mut GgufTensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = [&self.magic[..], &self.version.to_le_bytes()].concat();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, (kind, bytes)) in &self.keys {
            out.extend(string(key));
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        }
        let mut end = 0u64;
        for tensor in &self.tensors {
            let offset = end.next_multiple_of(32);
            end = offset + tensor.data.len() as u64;
            out.extend(string(&tensor.name));
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().rev().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.data);
        }
        out
    }
}
