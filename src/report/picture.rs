//! A figure with its words: drawn inside for a file of its own, beside it for a page.

/// Where title and caption of a figure go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TextPlace {
    /// Into the picture.
    Inside,
    /// To whoever shows it.
    Beside,
}

impl TextPlace {
    /// What of a title or caption is drawn.
    pub fn drawn(self, text: &str) -> &str {
        if self == Self::Inside { text } else { "" }
    }
}

/// A drawn figure.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// File name without ending.
    pub file: String,
    /// What it is, in a line.
    pub title: String,
    /// How it was made and how to read it.
    pub caption: String,
    /// What is to be seen, for who cannot see it.
    pub alt: String,
    /// The picture.
    pub svg: String,
}

/// The first dozen of some names, and how many more there are.
pub(super) fn few(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "none".into(),
        count if count <= SHOWN => names.join(", "),
        count => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
    }
}
