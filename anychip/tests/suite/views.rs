//! Views, joining, constructors: bit for bit.

use crate::common::{Host, on_every_device, same};
use anychip::{DType, Tensor};

#[test]
fn views_show_the_right_elements() {
    let x = Host::build(&[2, 3, 4], |i| (i[0] * 100 + i[1] * 10 + i[2]) as f64);
    let f = |i: usize, j: usize, k: usize| (i * 100 + j * 10 + k) as f64;
    on_every_device(|d| {
        let t = x.on(d);
        let check = |what: &str, got: Tensor, want: Host| same(&format!("{what} on {d}"), &got, &want);
        check("reshape", t.reshape((4, -1)).unwrap(), Host::new(&[4, 6], x.data.clone()));
        check("flatten", t.flatten(1, -1).unwrap(), Host::new(&[2, 12], x.data.clone()));
        check("flatten_all", t.flatten_all().unwrap(), Host::new(&[24], x.data.clone()));
        check("unsqueeze", t.unsqueeze(-1).unwrap(), Host::new(&[2, 3, 4, 1], x.data.clone()));
        check("squeeze", t.unsqueeze(0).unwrap().squeeze(0).unwrap(), x.clone());
        check("squeeze of a longer axis", t.squeeze(1).unwrap(), x.clone());
        check("permute", t.permute([2, 0, 1]).unwrap(), Host::build(&[4, 2, 3], |i| f(i[1], i[2], i[0])));
        check("transpose", t.transpose(0, -1).unwrap(), Host::build(&[4, 3, 2], |i| f(i[2], i[1], i[0])));
        check("t", t.t().unwrap(), Host::build(&[2, 4, 3], |i| f(i[0], i[2], i[1])));
        let again = t.t().unwrap().reshape((2, 12)).unwrap();
        check("reshape of t", again, Host::build(&[2, 12], |i| f(i[0], i[1] % 3, i[1] / 3)));
        check("narrow", t.narrow(1, 1, 2).unwrap(), Host::build(&[2, 2, 4], |i| f(i[0], i[1] + 1, i[2])));
        check("slice", t.slice((.., 1..=1, -3..-1)).unwrap(), Host::build(&[2, 1, 2], |i| f(i[0], 1, i[2] + 1)));
        check("empty slice", t.slice((2..,)).unwrap(), Host::new(&[0, 3, 4], vec![]));
        check("flip", t.flip([0, 2]).unwrap(), Host::build(&[2, 3, 4], |i| f(1 - i[0], i[1], 3 - i[2])));
        check("step_by", t.step_by(2, 3).unwrap(), Host::build(&[2, 3, 2], |i| f(i[0], i[1], 3 * i[2])));
        check("get", t.get(1).unwrap(), Host::build(&[3, 4], |i| f(1, i[0], i[1])));
        let row = t.slice((0..1, 0..1)).unwrap();
        check("broadcast_as", row.broadcast_as((2, 3, 4)).unwrap(), Host::build(&[2, 3, 4], |i| f(0, 0, i[2])));
        let wide = t.narrow(2, 1, 1).unwrap().expand((5, 2, -1, 3)).unwrap();
        check("expand", wide, Host::build(&[5, 2, 3, 3], |i| f(i[1], i[2], 1)));
        check("contiguous", t.t().unwrap().contiguous().unwrap(), Host::build(&[2, 4, 3], |i| f(i[0], i[2], i[1])));
        let nested = t.permute([1, 2, 0]).unwrap().slice((1.., .., 0..1)).unwrap().flip(1).unwrap();
        check("views of views", nested, Host::build(&[2, 4, 1], |i| f(0, i[0] + 1, 3 - i[1])));
    });
}

#[test]
fn cat_stack_chunk() {
    on_every_device(|d| {
        let (a, b) = (Host::random(&[2, 3], 1, 0., 1.), Host::random(&[2, 2], 2, 0., 1.));
        let want = Host::build(&[2, 5], |i| if i[1] < 3 { a.at(i) } else { b.at(&[i[0], i[1] - 3]) });
        same("cat", &Tensor::cat(&[a.on(d), b.on(d)], 1).unwrap(), &want);
        let (at, bt) = (a.on(d).t().unwrap(), b.on(d).t().unwrap());
        let joined = Tensor::cat(&[&at, &bt, &at], 0).unwrap();
        let want = Host::build(&[8, 2], |i| match i[0] {
            r @ 0..3 => a.at(&[i[1], r]),
            r @ 3..5 => b.at(&[i[1], r - 3]),
            r => a.at(&[i[1], r - 5]),
        });
        same("cat of views", &joined, &want);
        let none = Tensor::zeros((2, 0), DType::F32, d).unwrap();
        same("cat with nothing", &Tensor::cat(&[none, a.on(d)], 1).unwrap(), &a);
        let stacked = Tensor::stack(&[a.on(d), a.on(d).mul(2.0).unwrap()], 1).unwrap();
        same("stack", &stacked, &Host::build(&[2, 2, 3], |i| a.at(&[i[0], i[2]]) * (i[1] + 1) as f64));
        let parts = joined.chunk(3, 0).unwrap();
        assert_eq!(parts.iter().map(|p| p.dims()[0]).collect::<Vec<_>>(), [3, 3, 2]);
        same("chunk", &parts[2], &Host::build(&[2, 2], |i| a.at(&[i[1], i[0] + 1])));
        let many: Vec<Tensor> = (0..40).map(|i| Tensor::full(i as f32, (1, 2), d).unwrap()).collect();
        same("cat of 40", &Tensor::cat(&many, 0).unwrap(), &Host::build(&[40, 2], |i| i[0] as f64));
    });
}

#[test]
fn constructors() {
    on_every_device(|d| {
        assert_eq!(Tensor::ones((2, 2), DType::I64, d).unwrap().to_vec2::<i64>().unwrap(), [[1, 1], [1, 1]]);
        assert!(!Tensor::zeros((), DType::Bool, d).unwrap().to_vec0::<bool>().unwrap());
        if d.info().support(DType::F64).arithmetic {
            assert_eq!(Tensor::full(2.5f64, 2, d).unwrap().to_vec1::<f64>().unwrap(), [2.5, 2.5]);
        } else {
            let e = Tensor::full(2.5f64, 2, d).and_then(|t| t.to_vec1::<f64>()).unwrap_err();
            assert!(e.is_unsupported() && e.to_string().contains("f64") && e.to_string().contains(d.id()), "{e}");
        }
        assert_eq!(Tensor::arange(-2i32, 3, d).unwrap().to_vec1::<i32>().unwrap(), [-2, -1, 0, 1, 2]);
        assert_eq!(Tensor::arange_step(10u8, 0, 1, d).unwrap().elem_count(), 0);
        assert_eq!(Tensor::arange_step(5i64, -5, -4, d).unwrap().to_vec1::<i64>().unwrap(), [5, 1, -3]);
        assert_eq!(Tensor::eye(2, DType::F32, d).unwrap().to_vec2::<f32>().unwrap(), [[1., 0.], [0., 1.]]);
        let x = Tensor::from_vec((0..24).collect::<Vec<i32>>(), (2, 3, 4), d).unwrap();
        assert_eq!(x.to_vec3::<i32>().unwrap()[1][2], [20, 21, 22, 23]);
        assert_eq!(x.ones_like().unwrap().sum_all().unwrap().to_scalar::<i64>().unwrap(), 24);
        let empty = Tensor::from_vec(Vec::<f32>::new(), (0, 4), d).unwrap();
        assert_eq!(empty.add(1.0).unwrap().to_vec2::<f32>().unwrap(), Vec::<Vec<f32>>::new());
    });
}

#[test]
fn moving_and_keeping() {
    on_every_device(|d| {
        let cpu = anychip::Device::open("cpu").unwrap();
        let x = Tensor::arange(0f32, 100., d).unwrap().mul(3.0).unwrap();
        x.realize().unwrap();
        let moved = x.to_device(&cpu).unwrap().add(1.0).unwrap();
        assert_eq!(moved.device().id(), "cpu");
        assert_eq!(moved.to_vec1::<f32>().unwrap()[99], 298.0, "{d}");
        let y = x.sqr().unwrap();
        assert_eq!(y.checkpoint().unwrap().to_vec1::<f32>().unwrap()[2], 36.0);
        let w = x.constant().unwrap();
        assert_eq!(w.sub(&x).unwrap().abs().unwrap().max_all().unwrap().to_vec0::<f32>().unwrap(), 0.0);
        Tensor::realize_all(&[&x, &y]).unwrap();
    });
}
