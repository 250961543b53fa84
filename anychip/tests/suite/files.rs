//! safetensors: what is saved is read back, and whatever a damaged or hostile file holds is an error with its place.

use crate::common::{on_every_device, refused};
use anychip::{DType, Device, Error, SafeTensors, Tensor, f16, save};

fn cpu() -> Device {
    Device::open("cpu").unwrap()
}

#[test]
fn what_is_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    on_every_device(|d| {
        let path = folder.path().join(format!("{}.safetensors", d.id().replace(':', "-")));
        let x = Tensor::arange(0f32, 12., d).unwrap().reshape((3, 4)).unwrap();
        let tensors = [
            ("lazy.view", x.t().unwrap().mul(2.0).unwrap()),
            ("half", Tensor::full(f16::from_f32(1.5), 3, d).unwrap()),
            ("truth", x.gt(5.0).unwrap()),
            ("empty", Tensor::zeros((0, 7), DType::I64, d).unwrap()),
            ("number", Tensor::full(-7i8, (), d).unwrap()),
        ];
        save(&path, tensors.iter().map(|(n, t)| (*n, t))).unwrap();
        let file = SafeTensors::open(&path).unwrap();
        assert_eq!(file.names().collect::<Vec<_>>(), ["empty", "half", "lazy.view", "number", "truth"]);
        assert_eq!(file.shape("lazy.view"), Some(&[4, 3][..]));
        for (name, t) in &tensors {
            let back = file.tensor(name, d).unwrap();
            assert_eq!((back.dims(), back.dtype()), (t.dims(), t.dtype()));
            assert_eq!(back.to_bytes().unwrap(), t.to_bytes().unwrap(), "{name} on {d}");
        }
        // The tensor keeps the mapping alive.
        let kept = file.tensor("lazy.view", d).unwrap();
        drop(file);
        assert_eq!(kept.add(1.0).unwrap().to_vec2::<f32>().unwrap()[3], [7., 15., 23.], "{d}");
        refused(SafeTensors::open(&path).unwrap().tensor("lazy.veiw", d), &["lazy.veiw", "such as", "lazy.view"]);
    });
}

/// A file of a header and this many bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

#[test]
fn hostile_files_are_refused_with_their_place() {
    let open = |bytes: Vec<u8>| SafeTensors::from_bytes("weights", bytes);
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let good = one("F32", "[2,2]", "[0,16]");
    open(file(&good, 16)).unwrap();
    open(file(&format!("{good}   "), 16)).unwrap();
    open(file(r#"{"__metadata__":{"format":"pt"}}"#, 0)).unwrap();

    let mut long = file(&good, 16);
    long[..8].copy_from_slice(&(1u64 << 20).to_le_bytes());
    let mut huge = file(&good, 16);
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let two =
        r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#;
    let gap =
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}"#;
    let overflow = "[4294967296,4294967296,4]";
    // Ends that wrap around when they are added up.
    let most = u64::MAX;
    let wrapping = one("U8", &format!("[{most}]"), &format!("[0,{most}]"));
    let cases: Vec<(&str, Vec<u8>, Vec<&str>)> = vec![
        ("nothing", vec![], vec!["byte 0", "0 bytes"]),
        ("five bytes", vec![1, 2, 3, 4, 5], vec!["5 bytes", "at least 8"]),
        ("a header beyond the end", long, vec!["1048576", "only"]),
        ("a huge header", huge, vec!["18446744073709551615", "at most"]),
        (
            "no UTF-8",
            file("", 0).into_iter().take(0).chain([2, 0, 0, 0, 0, 0, 0, 0, b'{', 0xff]).collect(),
            vec!["byte 9", "UTF-8"],
        ),
        ("no JSON", file(r#"{"w":["#, 0), vec!["JSON"]),
        ("JSON, but a list", file("[1,2]", 0), vec!["JSON"]),
        ("deep JSON", file(&"[".repeat(100_000), 0), vec!["JSON"]),
        ("an entry without a type", file(r#"{"w":{"shape":[1],"data_offsets":[0,4]}}"#, 4), vec!["\"w\"", "dtype"]),
        ("an unknown type", file(&one("F99", "[1]", "[0,4]"), 4), vec!["\"w\"", "F99"]),
        ("a negative extent", file(&one("F32", "[-1]", "[0,4]"), 4), vec!["\"w\"", "-1"]),
        ("too few bytes", file(&good, 15), vec!["\"w\"", "0..16", "15"]),
        ("too many bytes", file(&good, 17), vec!["1 bytes at the end"]),
        ("shape and bytes differ", file(&one("F32", "[2,3]", "[0,16]"), 16), vec!["\"w\"", "[2, 3]", "24", "16"]),
        ("type and bytes differ", file(&one("F64", "[2,2]", "[0,16]"), 16), vec!["\"w\"", "F64", "32", "16"]),
        ("a shape that overflows", file(&one("F32", overflow, "[0,16]"), 16), vec!["\"w\"", "too many"]),
        ("an end before its start", file(&one("F32", "[2,2]", "[16,0]"), 16), vec!["\"w\"", "before its start"]),
        ("an end near the largest number", file(&wrapping, 16), vec!["\"w\"", "18446744073709551615"]),
        ("overlapping tensors", file(two, 12), vec!["\"b\"", "overlaps", "starts at 4"]),
        ("a gap", file(gap, 12), vec!["\"b\"", "gap"]),
        ("a shifted first tensor", file(&one("U8", "[4]", "[4,8]"), 8), vec!["\"w\"", "gap"]),
    ];
    for (what, bytes, parts) in cases {
        let e = refused(open(bytes), &parts);
        let Error::Corrupt { file, .. } = &e else { panic!("{what}: {e:?}") };
        assert_eq!(file, "weights", "{what}");
    }
    // Every way to cut a good file short, and every single byte of its header altered: an error or a file, never a panic.
    let whole = file(&good, 16);
    for n in 0..whole.len() {
        assert!(open(whole[..n].to_vec()).is_err(), "cut to {n} bytes");
        for flip in [1u8, 0x20, 0x80, 0xff] {
            let mut altered = whole.clone();
            altered[n] ^= flip;
            if let Ok(f) = open(altered) {
                for name in f.names().map(String::from).collect::<Vec<_>>() {
                    let _ = f.tensor(&name, &cpu()).map(|t| t.to_bytes());
                }
            }
        }
    }
}

#[test]
fn files_that_cannot_be_read_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone.safetensors");
    assert!(matches!(refused(SafeTensors::open(&gone), &["gone.safetensors"]), Error::Io { .. }));
    assert!(matches!(refused(SafeTensors::open(folder.path()), &["not a file"]), Error::Io { .. }));
    let empty = folder.path().join("empty.safetensors");
    std::fs::write(&empty, b"").unwrap();
    assert!(matches!(refused(SafeTensors::open(&empty), &["empty"]), Error::Corrupt { .. }));
    let x = Tensor::zeros(2, DType::F32, &cpu()).unwrap();
    let nowhere = folder.path().join("no/such/folder/x.safetensors");
    assert!(matches!(refused(save(&nowhere, [("x", &x)]), &["no/such/folder"]), Error::Io { .. }));
    refused(save(folder.path().join("x"), [("x", &x), ("x", &x)]), &["\"x\"", "taken"]);
    let small =
        SafeTensors::from_bytes("w", file(r#"{"w":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}"#, 2)).unwrap();
    assert!(matches!(refused(small.tensor("w", &cpu()), &["\"w\"", "F4"]), Error::Unsupported { .. }));
}
