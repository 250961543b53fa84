//! NumPy's files: what is saved is read back, what NumPy wrote is understood, and whatever is damaged is refused with its place.

use crate::common::{on_every_device, refused};
use anychip::{DType, Device, Error, Npz, Tensor, bf16, f16, load_npy, npy_from_bytes, save_npy, save_npz};

fn cpu() -> Device {
    Device::open("cpu").unwrap()
}

/// A file of version 1 with this header, as it is, and these elements.
fn file(header: &str, elements: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

#[test]
fn what_is_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    on_every_device(|d| {
        let x = Tensor::arange(0f32, 24., d).unwrap().reshape((2, 3, 4)).unwrap();
        let tensors = [
            ("view", x.permute((2, 0, 1)).unwrap()),
            ("half", Tensor::full(f16::from_f32(1.5), 3, d).unwrap()),
            ("truth", x.gt(5.0).unwrap()),
            ("empty", Tensor::zeros((0, 7), DType::I64, d).unwrap()),
            ("scalar", Tensor::full(-7i8, (), d).unwrap()),
            ("folder/long", Tensor::arange(0u32, 70_000, d).unwrap()),
        ];
        for (name, t) in &tensors {
            let path = folder.path().join("one.npy");
            save_npy(&path, t).unwrap();
            let back = load_npy(&path, d).unwrap();
            assert_eq!((back.dims(), back.dtype()), (t.dims(), t.dtype()), "{name}");
            assert_eq!(back.to_bytes().unwrap(), t.to_bytes().unwrap(), "{name} on {d}");
        }
        let path = folder.path().join("all.npz");
        save_npz(&path, tensors.iter().map(|(n, t)| (*n, t))).unwrap();
        let npz = Npz::open(&path).unwrap();
        assert_eq!(npz.names().collect::<Vec<_>>(), ["empty", "folder/long", "half", "scalar", "truth", "view"]);
        let mut seen = vec![];
        let all = npz.load(d, |p| seen.push((p.tensor.to_string(), p.done, p.total))).unwrap();
        for (name, t) in &tensors {
            assert_eq!(all[*name].to_bytes().unwrap(), t.to_bytes().unwrap(), "{name} on {d}");
        }
        let total = 24 * 4 + 3 * 2 + 24 + 1 + 4 * 70_000;
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert_eq!(seen.last().map(|s| (s.1, s.2)), Some((total, total)), "{seen:?}");
        assert!(seen.windows(2).all(|w| w[0].1 <= w[1].1), "{seen:?}");
        // No progress is lost when the values are there already.
        npz.load(d, |_| ()).unwrap();
        refused(npz.tensor("veiw", d), &["veiw", "holds 6 arrays", "empty"]);
    });
}

#[test]
fn what_numpy_wrote_is_understood() {
    let d = &cpu();
    let numbers = |n: &[f32]| n.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let fortran = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }          \n";
    let x = npy_from_bytes("x", file(fortran, &numbers(&[0., 3., 1., 4., 2., 5.])), d).unwrap();
    assert_eq!(x.to_vec2::<f32>().unwrap(), [[0., 1., 2.], [3., 4., 5.]]);
    let big = "{'descr': '>i2', 'fortran_order': False, 'shape': (3,), }\n";
    let x = npy_from_bytes("x", file(big, &[0, 0, 0, 1, 255, 254]), d).unwrap();
    assert_eq!(x.to_vec1::<i16>().unwrap(), [0, 1, -2]);
    // Everything but 0 is true.
    let bools = "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }\n";
    let x = npy_from_bytes("x", file(bools, &[0, 1, 7]), d).unwrap();
    assert_eq!(x.to_vec1::<bool>().unwrap(), [false, true, true]);
    assert_eq!(x.to_dtype(DType::I32).unwrap().to_vec1::<i32>().unwrap(), [0, 1, 1]);
    // Version 2: a header whose length has four bytes.
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    let header = "{'descr': '<u4', 'fortran_order': False, 'shape': (), }\n";
    long.extend((header.len() as u32).to_le_bytes());
    long.extend(header.as_bytes());
    long.extend(9u32.to_le_bytes());
    assert_eq!(npy_from_bytes("x", long, d).unwrap().to_vec0::<u32>().unwrap(), 9);
}

/// `numpy.savez_compressed(a=arange(4, uint8), b=float64(2.5))`.
const COMPRESSED: &str = "504b03042d0000000800000021002403de58ffffffffffffffff05001400612e6e707901001000840000000000000048000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a05e536aa8aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a263a9a3a0ab50a14002e0646266600504b03042d00000008000000210035b43a93ffffffffffffffff05001400622e6e707901001000880000000000000047000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a1aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a9a3a0ab50a14012e063060710000504b01022d032d0000000800000021002403de584800000084000000050000000000000000000000800100000000612e6e7079504b01022d032d00000008000000210035b43a93470000008800000005000000000000000000000080017f000000622e6e7079504b0506000000000200020066000000fd0000000000";

#[test]
fn compressed_archives_are_unpacked() {
    let bytes: Vec<u8> =
        (0..COMPRESSED.len()).step_by(2).map(|i| u8::from_str_radix(&COMPRESSED[i..i + 2], 16).unwrap()).collect();
    let d = &cpu();
    let npz = Npz::from_bytes("archive", bytes.clone()).unwrap();
    assert_eq!(npz.tensor("a", d).unwrap().to_vec1::<u8>().unwrap(), [0, 1, 2, 3]);
    assert_eq!(npz.tensor("b", d).unwrap().to_vec0::<f64>().unwrap(), 2.5);
    // Every byte damaged in turn, and every length: an error or the value, never a crash and never another value.
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x55;
        for bytes in [damaged, bytes[..i].to_vec()] {
            if let Ok(npz) = Npz::from_bytes("archive", bytes) {
                if let Ok(a) = npz.tensor("a", d) {
                    assert_eq!(a.to_vec1::<u8>().unwrap(), [0, 1, 2, 3], "byte {i}");
                }
                drop(npz.tensor("b", d));
            }
        }
    }
}

#[test]
fn hostile_files_are_refused_with_their_place() {
    let d = &cpu();
    let open = |bytes: Vec<u8>| npy_from_bytes("weights", bytes, d);
    let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
    open(file(good, &[0; 8])).unwrap();
    refused(open(vec![]), &["weights", "magic"]);
    refused(open(b"PK\x03\x04".to_vec()), &["magic"]);
    refused(open(file(good, &[0; 7])), &["[2]", "takes 8 bytes", "7 follow"]);
    refused(open(file(good, &[0; 9])), &["takes 8 bytes", "9 follow"]);
    let header = |h: &str| open(file(h, &[0; 8]));
    refused(header("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"), &["<c8", "not supported"]);
    refused(header("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }"), &["records"]);
    refused(header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), &["|O"]);
    refused(header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }"), &["extent of -2"]);
    refused(header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,), }"), &["9999"]);
    refused(header("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2), }"), &["too many"]);
    refused(header("{'descr': '<f4', 'fortran_order': False, 'shape': (2.0,), }"), &["extent of"]);
    refused(header("{'descr': '<f4', 'fortran_order': False}"), &["lacks"]);
    refused(header("{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}"), &["fortran_order"]);
    refused(header("[1, 2]"), &["not a Python dictionary"]);
    refused(header("{'descr': "), &["not a Python literal"]);
    for bracket in ["(", "[", "{", "[(", "{("] {
        refused(header(&bracket.repeat(40)), &["nested more than 6 deep"]);
    }
    refused(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }"), &["rank"]);
    let mut version = file(good, &[0; 8]);
    version[6] = 9;
    refused(open(version), &["version 9"]);
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    refused(open(long), &["claims 4294967295 bytes", "10000"]);
    refused(open(b"\x93NUMPY\x01\x00\x10".to_vec()), &["ends within"]);
    match open(file(good, &[0; 7])) {
        Err(Error::Corrupt { file, offset, .. }) => {
            assert_eq!((file.as_str(), offset), ("weights", 10 + good.len() as u64))
        }
        other => panic!("{other:?}"),
    }
    refused(Npz::from_bytes("weights", b"no archive".to_vec()), &["weights"]);
    // A stored array whose last byte was changed.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    save_npz(&path, [("x", &Tensor::arange(0u8, 9, d).unwrap())]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|w| w == [0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    bytes[at + 8] = 9;
    refused(Npz::from_bytes("weights", bytes).unwrap().tensor("x", d), &["weights/x.npy", "checksum"]);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let d = &cpu();
    let folder = tempfile::tempdir().unwrap();
    let brain = Tensor::full(bf16::from_f32(1.0), 3, d).unwrap();
    refused(save_npy(folder.path().join("x.npy"), &brain), &["bf16", "to_dtype"]);
    refused(save_npz(folder.path().join("x.npz"), [("x", &brain)]), &["bf16"]);
    let x = Tensor::zeros(3, DType::F32, d).unwrap();
    refused(save_npz(folder.path().join("x.npz"), [("x", &x), ("x", &x)]), &["\"x\"", "taken"]);
    refused(save_npy(folder.path().join("no/such/folder/x.npy"), &x), &["x.npy"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half-written stays");
    refused(load_npy(folder.path(), d), &["is not a file"]);
    refused(Npz::open(folder.path().join("absent.npz")), &["absent.npz"]);
}
