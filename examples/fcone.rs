use splitbench::codec::*;
use splitbench::kernel;
use splitbench::kernel::{Band, Block};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let s: usize = a[1].parse().unwrap();
    let d: usize = a[2].parse().unwrap();
    let n: usize = a[3].parse().unwrap();
    let values: Vec<f32> = (0..s * d).map(|i| ((i * 37) % 1009) as f32 / 100.0 - 5.0).collect();
    let act = Activation::new(s, d, values.clone()).unwrap();
    let fc = build(&CodecSpec::parse("fc").unwrap(), None).unwrap();
    let b = Budget::elements(7.6).unwrap();
    let p = fc.encode(&act, b).unwrap();
    let r = 7.6f64.sqrt();
    let ks = ((s as f64 / r).round() as usize).max(1);
    let kd = (s as f64 * d as f64 / (7.6 * ks as f64)) as usize;
    let block = Block { ks, kd };
    let mut kept = Vec::new();
    {
        let sp = kernel::forward(&values, s, d, Band::Mirrored, block, 1.0);
        sp.block(Band::Mirrored, block, &mut kept);
    }
    let time = |name: &str, f: &mut dyn FnMut()| {
        f();
        let mut t: Vec<f64> = (0..n)
            .map(|_| {
                let c = cpu();
                f();
                cpu() - c
            })
            .collect();
        t.sort_by(f64::total_cmp);
        println!("{name} min {:.0} q1 {:.0} med {:.0}", t[0], t[n / 4], t[n / 2]);
    };
    time("fwd", &mut || {
        let sp = kernel::forward(&values, s, d, Band::Mirrored, block, 1.0);
        std::hint::black_box(&sp);
    });
    time("fwd+block", &mut || {
        let sp = kernel::forward(&values, s, d, Band::Mirrored, block, 1.0);
        sp.block(Band::Mirrored, block, &mut kept);
    });
    time("inv", &mut || {
        std::hint::black_box(kernel::inverse(&kept, Band::Mirrored, block, s, d, 1.0));
    });
    time("enc", &mut || {
        std::hint::black_box(fc.encode(&act, b).unwrap());
    });
    time("dec", &mut || {
        std::hint::black_box(fc.decode(&p).unwrap());
    });
}

#[repr(C)]
struct Ts {
    s: i64,
    n: i64,
}
unsafe extern "C" {
    fn clock_gettime(id: i32, t: *mut Ts) -> i32;
}
fn cpu() -> f64 {
    let mut t = Ts { s: 0, n: 0 };
    unsafe {
        clock_gettime(3, &mut t);
    }
    t.s as f64 * 1e6 + t.n as f64 / 1e3
}
