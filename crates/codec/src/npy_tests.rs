//! Against files that NumPy wrote (`tests/npy/make.py`).

use std::fs;
use std::path::PathBuf;

use super::*;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/npy").join(format!("{name}.npy"))
}

fn expected() -> Activation {
    let value = |i: usize| ((i / 5) as f32 - 1.0) * 4.0 + (i % 5) as f32 / 2.0;
    Activation::new(3, 5, (0..15).map(value).collect()).unwrap()
}

#[test]
fn every_type_order_and_version_is_read() {
    for name in
        ["c-f2", "c-f4", "c-f8", "fortran-f2", "fortran-f4", "fortran-f8", "version-2", "version-3", "big-endian"]
    {
        assert_eq!(read(&file(name)).unwrap(), expected(), "{name}");
    }
}

#[test]
fn what_is_written_is_what_numpy_writes() {
    assert_eq!(to_bytes(&expected()), fs::read(file("c-f4")).unwrap());
    for columns in [1, 99, 12_345, 1 << 20] {
        let a = Activation::new(1, columns, vec![1.5; columns]).unwrap();
        let bytes = to_bytes(&a);
        assert_eq!((bytes.len() - 4 * columns) % 64, 0);
        assert_eq!(read_from(&bytes[..]).unwrap(), a);
    }
}

#[test]
fn other_files_are_refused_by_file_and_field() {
    for (name, expected) in [
        ("int64", &["field descr", "<i8", "astype"][..]),
        ("complex", &["field descr", "<c8"]),
        ("objects", &["field descr", "pickled"]),
        ("structured", &["field descr", "structured"]),
        ("one-dimension", &["field shape", "(5,)", "1 dimension"]),
        ("three-dimensions", &["field shape", "(1, 3, 5)", "3 dimensions"]),
        ("no-rows", &["field shape", "(0, 5)"]),
        ("beyond-f32", &["row 2, column 1", "1e39", "beyond the range of f32"]),
        ("nan", &["row 2, column 1", "NaN"]),
        ("missing", &["opening"]),
    ] {
        let error = format!("{:#}", read(&file(name)).unwrap_err());
        assert!(error.contains(&format!("{name}.npy")), "{error}");
        assert!(expected.iter().all(|part| error.contains(part)), "{name}: {error}");
    }
}

#[test]
fn every_truncation_and_extension_is_an_error() {
    for name in ["c-f2", "fortran-f8", "version-2"] {
        let bytes = fs::read(file(name)).unwrap();
        for cut in 0..bytes.len() {
            let error = format!("{:#}", read_from(&bytes[..cut]).unwrap_err());
            assert!(error.starts_with("npy field"), "{name} cut to {cut}: {error}");
        }
        let long = [&bytes[..], &[0]].concat();
        assert!(read_from(&long[..]).unwrap_err().to_string().contains("goes on"), "{name}");
    }
}

#[test]
fn broken_headers_are_refused_by_field() {
    let with = |header: &str| {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[1, 0]);
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&[0; 8]);
        read_from(&bytes[..])
    };
    // Other writers than NumPy: another order, other blanks and quotes, no comma at the end.
    assert!(with(r#"{"shape":(1,2),"fortran_order":False,"descr":"<f4"}"#).is_ok());
    // Python 2, and NumPy's other names for the type: np.load reads these.
    for header in [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L), }",
        "{u'descr': u'<f4', u'fortran_order': False, u'shape': ( 1L , 2L, ) , } ",
        "{'descr': '=f4', 'fortran_order': True, 'shape': (1, 2,), }",
        "{'descr': '|f4', 'fortran_order': False, 'shape': (1, 2)}",
        "{'descr': 'f4', 'fortran_order': False, 'shape': (2, 1)}",
        "{'descr': 'float32', 'fortran_order': False, 'shape': (2, 1)}",
        "{'descr': '>f8', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': 'e', 'fortran_order': False, 'shape': (2, 2)}",
    ] {
        let read = with(header).unwrap_or_else(|e| panic!("{header}: {e:#}"));
        assert!(read.values().iter().all(|v| *v == 0.0), "{header}");
    }
    for (header, expected) in [
        ("", "field header"),
        ("{", "field header"),
        ("{}", "field descr: missing"),
        ("{'descr': '<f4', 'fortran_order': False}", "field shape: missing"),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}", "twice"),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 2)}", "field fortran_order: 1"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), 'more': 3}", "more"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': [1, 2]}", "field shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2)}", "field shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2LL)}", "field shape"),
        ("{'descr': '>i4', 'fortran_order': False, 'shape': (1, 2)}", "field descr: '>i4'"),
        ("{'descr': '<<f4', 'fortran_order': False, 'shape': (1, 2)}", "field descr: '<<f4'"),
        ("{'descr': '', 'fortran_order': False, 'shape': (1, 2)}", "field descr: ''"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", "0 dimensions"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1048577, 1)}", "1048577"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576)}", "134217728"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616, 1)}", "field shape"),
        (&"(".repeat(9_999), "field header"),
    ] {
        let error = format!("{:#}", with(header).unwrap_err());
        assert!(error.starts_with("npy field") && error.contains(expected), "{header}: {error}");
    }
    let magic = read_from(&b"PK\x03\x04npz file"[..]).unwrap_err().to_string();
    assert!(magic.contains("field magic"), "{magic}");
    let version = read_from(&b"\x93NUMPY\x09\x00"[..]).unwrap_err().to_string();
    assert!(version.contains("field version: 9.0"), "{version}");
}
