//! The kernels in criterion: matrix products beside the best libraries of Rust at the shapes of the
//! mixture kernel, and its sweep. `cargo bench --bench kernels`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reelscale::internals::kernel::mixture::layout::Layout;
use reelscale::internals::kernel::product::{Left, Output, Panels, Size, Workspace};
use reelscale::internals::kernel::sweep::{Tile, gradients};
use reelscale::internals::kernel::vector::{Instructions, LANES};
use reelscale::internals::labels::Labels;
use reelscale::internals::model::spec::Dummy;
use reelscale::internals::rng::{Purpose, Stream};

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

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).without_plots();
    targets = products, sweep
}
criterion_main!(kernels);
