//! Times each kernel against plain burn operations at the sizes that training meets, forward alone and forward with
//! backward. Prints a table in Markdown. `cargo run --release --example bench_kernels [name] [--processor]`: only the rows
//! whose name holds `name`; with `--processor` the time that all threads spend on the processor (Linux only), which other
//! programs on the machine disturb less than they do the clock.

use std::fs;
use std::time::{Duration, Instant};

use assent::kernels::{self, reference};
use burn::tensor::{Device, Distribution, Tensor};

type Operation<'a> = &'a dyn Fn(&[Tensor<4>]) -> Tensor<4>;

/// What the scheduler has given to the threads of this process.
fn processor_time() -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let line = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("schedstat")).ok();
    let nanos = |line: String| line.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    Duration::from_nanos(threads.filter_map(line).filter_map(nanos).sum())
}

/// Median time of at least five runs and about a second; with `--processor` the mean.
fn median(mut run: impl FnMut()) -> Duration {
    run();
    let processor = std::env::args().any(|argument| argument == "--processor");
    let (mut times, start, spent) = (Vec::new(), Instant::now(), processor_time());
    while times.len() < 5 || (start.elapsed() < Duration::from_millis(700) && times.len() < 500) {
        let begin = Instant::now();
        run();
        times.push(begin.elapsed());
    }
    if processor {
        // The counts lag by a few milliseconds, so they are read around all runs together.
        let runs = u32::try_from(times.len()).unwrap_or(u32::MAX);
        return processor_time().saturating_sub(spent) / runs;
    }
    times.sort();
    times[times.len() / 2]
}

/// `trained`: how many of the inputs, from the first, get a gradient.
fn times(shapes: &[[usize; 4]], trained: usize, operation: Operation<'_>) -> [Duration; 2] {
    let make = |device: &Device| -> Vec<Tensor<4>> {
        shapes
            .iter()
            .map(|shape| Tensor::random(*shape, Distribution::Normal(0.0, 1.0), device))
            .collect()
    };
    let plain = make(&Device::flex());
    let forward = median(|| drop(operation(&plain)));
    let device = Device::flex().autodiff();
    let mut inputs = make(&device);
    for input in inputs.iter_mut().take(trained) {
        *input = input.clone().require_grad();
    }
    let weights = Tensor::random(operation(&inputs).dims(), Distribution::Normal(0.0, 1.0), &device);
    // The sum costs both sides the same.
    let both = median(|| drop((operation(&inputs) * weights.clone()).sum().backward()));
    [forward, both]
}

fn row(name: &str, shapes: &[[usize; 4]], trained: usize, kernel: Operation<'_>, plain: Operation<'_>) {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let [plain_forward, plain_both] = times(shapes, trained, plain);
    let [forward, both] = times(shapes, trained, kernel);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "| {name} | {:.2} | {:.2} | {:.1}× | {:.2} | {:.2} | {:.1}× |",
        ms(plain_forward),
        ms(forward),
        ms(plain_forward) / ms(forward),
        ms(plain_both),
        ms(both),
        ms(plain_both) / ms(both),
    );
}

fn flat(x: &Tensor<4>) -> Tensor<1> {
    x.clone().flatten(0, 3)
}

fn tokens(x: &Tensor<4>) -> Tensor<3> {
    x.clone().flatten(0, 1)
}

fn main() {
    println!("| operation | plain forward, ms | kernel | | plain forward and backward, ms | kernel | |");
    println!("|---|---|---|---|---|---|---|");
    for [b, c, s] in [[16, 64, 16], [16, 128, 8], [16, 192, 4], [8, 32, 64], [1, 320, 64]] {
        let shapes = [[b, c, s, s], [1, 1, 1, c], [1, 1, 1, c]];
        let run = |f: fn(Tensor<4>, Tensor<1>, Tensor<1>, usize, f64, bool) -> Tensor<4>| {
            move |i: &[Tensor<4>]| f(i[0].clone(), flat(&i[1]), flat(&i[2]), 32, 1e-5, true)
        };
        let (kernel, plain) = (run(kernels::group_norm), run(reference::group_norm));
        row(&format!("group norm + SiLU {b}×{c}×{s}²"), &shapes, 3, &kernel, &plain);
    }
    for [b, n, c] in [[16, 256, 64], [16, 64, 128], [1, 4096, 320]] {
        let shapes = [[b, 1, n, c], [1, 1, 1, c], [1, 1, 1, c]];
        let run = |f: fn(Tensor<3>, Tensor<1>, Tensor<1>, f64) -> Tensor<3>| {
            move |i: &[Tensor<4>]| f(tokens(&i[0]), flat(&i[1]), flat(&i[2]), 1e-5).unsqueeze_dim(1)
        };
        row(
            &format!("layer norm {b}×{n}×{c}"),
            &shapes,
            3,
            &run(kernels::layer_norm),
            &run(reference::layer_norm),
        );
    }
    for [b, n, c] in [[16, 256, 512], [1, 4096, 2560]] {
        let run = |f: fn(Tensor<3>) -> Tensor<3>| move |i: &[Tensor<4>]| f(tokens(&i[0])).unsqueeze_dim(1);
        row(
            &format!("GEGLU {b}×{n}×{c}"),
            &[[b, 1, n, c]],
            1,
            &run(kernels::geglu),
            &run(reference::geglu),
        );
    }
    for shape in [[16, 64, 16, 16], [1, 320, 64, 64]] {
        let name = format!("SiLU {}×{}×{}²", shape[0], shape[1], shape[2]);
        row(&name, &[shape], 1, &|i| kernels::silu(i[0].clone()), &|i| {
            reference::silu(i[0].clone())
        });
    }
    for [b, h, n, m, d] in [
        [16, 2, 256, 256, 32],
        [16, 2, 256, 77, 32],
        [16, 4, 64, 64, 32],
        [16, 6, 16, 16, 32],
        [8, 1, 256, 256, 96],
        [1, 8, 1024, 1024, 80],
        [1, 8, 4096, 4096, 40],
    ] {
        let shapes = [[b, n, h, d], [b, m, h, d], [b, m, h, d]];
        let run = |f: fn(Tensor<4>, Tensor<4>, Tensor<4>, f64, bool) -> Tensor<4>| {
            move |i: &[Tensor<4>]| {
                let [q, k, v] = [0, 1, 2].map(|x| i[x].clone().swap_dims(1, 2));
                f(q, k, v, 0.2, false)
            }
        };
        let (kernel, plain) = (run(kernels::attention), run(reference::attention));
        row(
            &format!("attention {b}×{h}, {n} of {m}, {d}"),
            &shapes,
            3,
            &kernel,
            &plain,
        );
    }
    for [b, c, o, s, k, stride] in [
        [16, 64, 64, 16, 3, 1],
        [16, 128, 128, 8, 3, 1],
        [16, 192, 192, 4, 3, 1],
        [16, 64, 64, 16, 3, 2],
        [16, 192, 128, 8, 3, 1],
        [16, 64, 128, 8, 1, 1],
        [16, 4, 64, 16, 3, 1],
        [8, 3, 32, 64, 3, 1],
        [8, 32, 32, 64, 3, 1],
        [8, 64, 64, 32, 3, 1],
        [8, 96, 96, 16, 3, 1],
        [1, 320, 320, 64, 3, 1],
        [1, 1280, 1280, 16, 3, 1],
    ] {
        let shapes = [[b, c, s, s], [o, c, k, k], [1, 1, 1, o]];
        let run = |f: fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, usize, usize) -> Tensor<4>| {
            move |i: &[Tensor<4>]| f(i[0].clone(), i[1].clone(), Some(flat(&i[2])), stride, k / 2)
        };
        let (kernel, plain) = (run(kernels::conv2d), run(reference::conv2d));
        let name = format!(
            "convolution {k}² {b}×{c}→{o}×{s}²{}",
            if stride == 2 { " by 2" } else { "" }
        );
        row(&name, &shapes, 3, &kernel, &plain);
        row(&format!("{name}, frozen"), &shapes, 1, &kernel, &plain);
    }
}
