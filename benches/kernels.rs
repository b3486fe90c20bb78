//! The kernels in criterion: matrix products beside the best libraries of Rust at the shapes of the
//! mixture kernel, its sweep, and random numbers of rows. `cargo bench --bench kernels`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reelscale::internals::kernel::mixture::layout::Layout;
use reelscale::internals::kernel::product::{Left, Output, Panels, Size, Workspace};
use reelscale::internals::kernel::sweep::{Tile, gradients};
use reelscale::internals::kernel::vector::{Instructions, LANES};
use reelscale::internals::kernel::{dropout, permutation};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::rng::{Permutation, Purpose, Stream};

/// rows x depth times depth x columns: logits, the experts' gradient, the activations' gradient.
const SHAPES: [(&str, usize, usize, usize); 3] =
    [("logits", 240, 1024, 320), ("experts", 1024, 240, 320), ("activations", 240, 320, 1024)];

fn random(count: usize) -> Vec<f32> {
    let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
    (0..count).map(|_| stream.uniform() - 0.5).collect()
}

fn products(criterion: &mut Criterion) {
    for (name, m, k, n) in SHAPES {
        let (a, b, mut c) = (random(m * k), random(k * n), vec![0.0f32; m * n]);
        let mut group = criterion.benchmark_group(format!("product/{name}"));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        for instructions in Instructions::available().into_iter().skip(1) {
            let mut workspace = Workspace::new(instructions);
            let size = Size { rows: m, depth: k, panels: n / LANES };
            group.bench_function(BenchmarkId::new("reelscale", instructions.name()), |bencher| {
                bencher.iter(|| {
                    let left = Left { data: &a, row: k, column: 1 };
                    let panels = Panels { data: &b, row: LANES, panel: k * LANES };
                    let mut output = Output { data: &mut c, row: n, panel: LANES };
                    workspace.multiply(size, left, panels, &mut output);
                });
            });
        }
        group.bench_function("matrixmultiply", |bencher| {
            // SAFETY: the slices hold m x k, k x n and m x n numbers, row after row.
            bencher.iter(|| unsafe {
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                let (k_stride, n_stride) = (k as isize, n as isize);
                matrixmultiply::sgemm(
                    m, k, n, 1.0, a, k_stride, 1, b, n_stride, 1, 0.0, c, n_stride, 1,
                );
            });
        });
        group.bench_function("gemm", |bencher| {
            // SAFETY: as above.
            bencher.iter(|| unsafe {
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                let (k_stride, n_stride) = (k as isize, n as isize);
                let alone = gemm::Parallelism::None;
                gemm::gemm(
                    m, n, k, c, 1, n_stride, false, a, 1, k_stride, b, 1, n_stride, 0.0, 1.0,
                    false, false, false, alone,
                );
            });
        });
        group.finish();
    }
}

fn sweep(criterion: &mut Criterion) {
    let rows = 240;
    for experts in [2, 16] {
        let layout = Layout::new(0..64, vec![experts; 64], Dummy::Learned, 1);
        let mut labels = Labels::new();
        (0..rows).for_each(|row| labels.push(&[row as u32 % 64]));
        let (start, mut losses) = (random(rows * layout.columns()), vec![0.0; rows * 64]);
        let mut logits = start.clone();
        let mut group = criterion.benchmark_group(format!("sweep/{experts} experts"));
        group.throughput(Throughput::Elements(start.len() as u64));
        for instructions in Instructions::available().into_iter().skip(1) {
            group.bench_function(instructions.name(), |bencher| {
                bencher.iter(|| {
                    logits.copy_from_slice(&start);
                    gradients(
                        instructions,
                        &mut Tile {
                            layout: &layout,
                            logits: &mut logits,
                            labels: &labels,
                            weights: &[],
                            rows: 0..rows,
                            epsilon: 1e-5,
                        },
                        &mut losses,
                    );
                });
            });
        }
        group.finish();
    }
}

/// What a row costs before it is worked on: its place in the epoch's order, and dropout of its
/// numbers, by the vector code and one word after the other.
fn draws(criterion: &mut Criterion) {
    let places = 0..4096;
    let permutation = Permutation::new(7, Purpose::RowOrder, 0, 5_786_881);
    let mut items = vec![0; places.len()];
    let mut group = criterion.benchmark_group("permutation/a place");
    group.throughput(Throughput::Elements(places.len() as u64));
    for instructions in Instructions::available() {
        group.bench_function(instructions.name(), |bencher| {
            bencher.iter(|| permutation::items(instructions, &permutation, 0, &mut items));
        });
    }
    group.bench_function("definition", |bencher| {
        bencher.iter(|| places.clone().map(|place| permutation.at(place)).max());
    });
    group.finish();

    let (mut numbers, bound) = (random(1024), dropout::bound(0.5));
    let mut group = criterion.benchmark_group("dropout/a row of 1,024");
    let stream = || Stream::new(7, Purpose::Dropout, 77);
    for instructions in Instructions::available() {
        group.bench_function(instructions.name(), |bencher| {
            bencher.iter(|| dropout::drop_out(instructions, &mut numbers, bound, &stream()));
        });
    }
    group.bench_function("definition", |bencher| {
        bencher.iter(|| {
            let mut stream = stream();
            for numbers in numbers.chunks_mut(4) {
                let bytes = stream.next_u32().to_le_bytes();
                let pairs = numbers.iter_mut().zip(bytes);
                pairs.for_each(|(x, byte)| *x = dropout::definition::number(*x, byte, bound));
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).without_plots();
    targets = products, sweep, draws
}
criterion_main!(kernels);
