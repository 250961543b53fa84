//! Parts, repeats, rolls and diagonals: bit for bit what plain indexing of the host gives.

use crate::common::{Host, on_every_device, refused, same};
use anychip::{DType, Device, Tensor};

#[test]
fn parts() {
    on_every_device(|d| {
        let x = Host::random(&[4, 7], 1, -1.0, 1.0);
        let parts = x.on(d).t().unwrap().split(&[2, 0, 5], 0).unwrap();
        same(&format!("part 0 on {d}"), &parts[0], &Host::build(&[2, 4], |i| x.at(&[i[1], i[0]])));
        assert_eq!(parts[1].dims(), [0, 4]);
        same(&format!("part 2 on {d}"), &parts[2], &Host::build(&[5, 4], |i| x.at(&[i[1], i[0] + 2])));
        let columns = x.on(d).unbind(-1).unwrap();
        assert_eq!(columns.len(), 7);
        same(&format!("column 3 on {d}"), &columns[3], &Host::build(&[4], |i| x.at(&[i[0], 3])));
        let moved = x.on(d).reshape((2, 2, 7)).unwrap().movedim(-1, 0).unwrap();
        same(&format!("movedim on {d}"), &moved, &Host::build(&[7, 2, 2], |i| x.at(&[2 * i[1] + i[2], i[0]])));
    });
}

#[test]
fn rolls() {
    on_every_device(|d| {
        let x = Host::random(&[3, 5], 2, -1.0, 1.0);
        for shift in [0i64, 1, -1, 5, 12, -13, i64::MIN, i64::MAX] {
            let by = |n: i128| (shift as i128).rem_euclid(n) as usize;
            let want = Host::build(&[3, 5], |i| x.at(&[i[0], (i[1] + 5 - by(5)) % 5]));
            same(&format!("roll by {shift} on {d}"), &x.on(d).roll(shift, 1).unwrap(), &want);
            let want = Host::build(&[3, 5], |i| x.at(&[(i[0] + 3 - by(3)) % 3, i[1]]));
            same(&format!("roll by {shift} on {d}"), &x.on(d).roll(shift, 0).unwrap(), &want);
        }
        assert_eq!(Tensor::zeros((0, 2), DType::F32, d).unwrap().roll(3, 0).unwrap().dims(), [0, 2]);
    });
}

#[test]
fn repeats() {
    on_every_device(|d| {
        let x = Host::random(&[2, 3], 3, -1.0, 1.0);
        let want = Host::build(&[2, 6, 9], |i| x.at(&[i[1] % 2, i[2] % 3]));
        same(&format!("repeat on {d}"), &x.on(d).repeat((2, 3, 3)).unwrap(), &want);
        let want = Host::build(&[3, 8], |i| x.at(&[i[1] % 2, i[0]]));
        same(&format!("tile of a view on {d}"), &x.on(d).t().unwrap().tile(4).unwrap(), &want);
        let want = Host::build(&[2, 12], |i| x.at(&[i[0], i[1] / 4]));
        same(&format!("repeat_interleave on {d}"), &x.on(d).repeat_interleave(4, 1).unwrap(), &want);
        assert_eq!(x.on(d).repeat((0, 2)).unwrap().dims(), [0, 6]);
        assert_eq!(x.on(d).repeat_interleave(0, 0).unwrap().to_vec::<f32>().unwrap(), Vec::<f32>::new(), "{d}");
        let eight = x.on(d).reshape((1, 2, 1, 3, 1, 1, 1, 1)).unwrap().repeat((1, 2, 2, 1, 1, 1, 1, 1)).unwrap();
        let want = Host::build(&[1, 4, 2, 3, 1, 1, 1, 1], |i| x.at(&[i[1] % 2, i[3]]));
        same(&format!("repeat of rank 8 on {d}"), &eight, &want);
    });
}

#[test]
fn grids_and_diagonals() {
    on_every_device(|d| {
        let axes: Vec<Tensor> = [2usize, 3, 4].iter().map(|&n| Host::random(&[n], n as u64, 0.0, 1.0).on(d)).collect();
        let grid = Tensor::meshgrid(&axes).unwrap();
        let last = Host::random(&[4], 4, 0.0, 1.0);
        same(&format!("meshgrid on {d}"), &grid[2], &Host::build(&[2, 3, 4], |i| last.at(&[i[2]])));

        let x = Host::random(&[2, 3, 4], 5, -1.0, 1.0);
        for (offset, len) in
            [(0i64, 3usize), (1, 3), (3, 1), (4, 0), (-1, 2), (-2, 1), (-3, 0), (i64::MIN, 0), (i64::MAX, 0)]
        {
            let (row, col) = if offset < 0 { (offset.unsigned_abs() as usize, 0) } else { (0, offset as usize) };
            let want = Host::build(&[2, len], |i| x.at(&[i[0], row + i[1], col + i[1]]));
            same(&format!("diagonal {offset} on {d}"), &x.on(d).diagonal(offset).unwrap(), &want);
        }
        let t = x.on(d).permute([0, 2, 1]).unwrap().diagonal(-1).unwrap();
        same(&format!("a diagonal of a view on {d}"), &t, &Host::build(&[2, 3], |i| x.at(&[i[0], i[1], i[1] + 1])));

        let v = Host::random(&[2, 3], 6, 1.0, 2.0);
        for offset in [0i64, 2, -1] {
            let (m, away) = (3 + offset.unsigned_abs() as usize, offset.unsigned_abs() as usize);
            let (row, col) = if offset < 0 { (away, 0) } else { (0, away) };
            let want = Host::build(&[2, m, m], |i| {
                let k = i[1].checked_sub(row);
                if k.is_some() && k == i[2].checked_sub(col) { v.at(&[i[0], i[1] - row]) } else { 0.0 }
            });
            let got = v.on(d).diag_embed(offset).unwrap();
            same(&format!("diag_embed {offset} on {d}"), &got, &want);
            same(&format!("and back {offset} on {d}"), &got.diagonal(offset).unwrap(), &v);
        }
        let truth = Tensor::ones(2, DType::Bool, d).unwrap().diag_embed(0).unwrap();
        assert_eq!(truth.to_vec2::<bool>().unwrap(), [[true, false], [false, true]], "{d}");
    });
}

#[test]
fn intervals() {
    on_every_device(|d| {
        let edges = Tensor::from_vec(vec![-1f32, 0., 0., 2.], 4, d).unwrap();
        let x = Tensor::from_vec(vec![-2f32, -1., 0., 1., 2., f32::NAN, f32::INFINITY, -0.5], (2, 4), d).unwrap();
        assert_eq!(x.bucketize(&edges, false).unwrap().to_vec2::<u32>().unwrap(), [[0, 0, 1, 3], [3, 4, 4, 1]], "{d}");
        assert_eq!(x.bucketize(&edges, true).unwrap().to_vec2::<u32>().unwrap(), [[0, 1, 3, 3], [4, 4, 4, 1]], "{d}");
        let none = Tensor::zeros(0, DType::F32, d).unwrap();
        assert_eq!(x.bucketize(&none, false).unwrap().to_vec::<u32>().unwrap(), [0; 8], "{d}");
    });
}

#[test]
fn rearrangements_that_are_refused() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    refused(x.split(&[1, 1], 1), &["split", "[2, 3]", "extent 3", "[1, 1]"]);
    refused(x.split(&[usize::MAX, 4], 1), &["split", "extent 3"]);
    refused(x.unbind(2), &["unbind", "axis 2"]);
    refused(x.movedim(0, 2), &["movedim", "axis 2"]);
    refused(x.roll(1, -3), &["roll", "axis -3"]);
    refused(x.repeat(2), &["repeat", "[2, 3]", "[2]"]);
    refused(x.repeat((-1, 2)), &["repeat", "-1"]);
    refused(x.repeat((usize::MAX, 1)), &["too many elements"]);
    refused(x.repeat([1; 9]), &["rank 9"]);
    refused(x.repeat_interleave(usize::MAX, 0), &["repeat_interleave", "too long"]);
    let none: [Tensor; 0] = [];
    refused(Tensor::meshgrid(&none), &["meshgrid", "no tensors"]);
    refused(Tensor::meshgrid(&[&x]), &["meshgrid", "[2, 3]", "rank 1"]);
    refused(x.get(0).unwrap().diagonal(0), &["diagonal", "[3]", "two axes"]);
    refused(Tensor::zeros((), DType::F32, &d).unwrap().diag_embed(0), &["diag_embed", "no axis"]);
    refused(x.diag_embed(i64::MIN), &["too"]);
    refused(x.bucketize(&x, true), &["bucketize", "[2, 3]", "rank 1"]);
    refused(x.bucketize(&Tensor::zeros(2, DType::I32, &d).unwrap(), true), &["f32", "i32"]);
}
