//! Files of a model that were made to fit their digests again: what they say is compared, too.

use super::common::copy;
use super::models::{refit_manifest, refused_or_same, saved, shapes};
use super::{ALLOCATION_MAX, allocations};

type Damage = (&'static str, fn(&hdf5::File, &hdf5::File) -> hdf5::Result<()>);

/// Puts a dataset of other numbers in the place of one.
fn replace<T: hdf5::H5Type>(
    file: &hdf5::File,
    name: &str,
    change: impl Fn(&mut Vec<T>),
) -> hdf5::Result<()> {
    let dataset = file.dataset(name)?;
    let (mut numbers, mut shape) = (dataset.read_raw::<T>()?, dataset.shape());
    change(&mut numbers);
    file.unlink(name)?;
    shape[0] = numbers.len() / shape[1..].iter().product::<usize>();
    let array = ndarray::ArrayD::from_shape_vec(shape, numbers).expect("whole rows");
    file.new_dataset_builder().with_data(&array).create(name).map(drop)
}

/// A dataset that says it is of `shape`, of which nothing is in the file.
fn claim(file: &hdf5::File, name: &str, shape: &[usize]) -> hdf5::Result<()> {
    file.unlink(name)?;
    let chunk: Vec<usize> = shape.iter().map(|side| (*side).clamp(1, 16)).collect();
    file.new_dataset::<f32>().chunk(chunk).shape(shape.to_vec()).create(name).map(drop)
}

/// What can be done to the experts and to the shared layers.
const DAMAGES: &[Damage] = &[
    ("offsets cut", |e, _| replace::<i64>(e, "gate_offsets", |all| all.truncate(10))),
    ("offsets doubled", |e, _| replace::<i64>(e, "expert_offsets", |all| all.extend(all.clone()))),
    ("no offsets", |e, _| replace::<i64>(e, "expert_offsets", Vec::clear)),
    ("first offset", |e, _| replace::<i64>(e, "gate_offsets", |all| all[0] = 1)),
    ("negative offset", |e, _| replace::<i64>(e, "expert_offsets", |all| all[0] = -1)),
    ("last offset", |e, _| {
        replace::<i64>(e, "expert_offsets", |all| *all.last_mut().unwrap() += 1)
    }),
    ("falling offsets", |e, _| replace::<i64>(e, "gate_offsets", |all| all.swap(3, 4))),
    ("huge offset", |e, _| replace::<i64>(e, "expert_offsets", |all| all[7] = i64::MAX)),
    ("no expert", |e, _| replace::<i64>(e, "expert_offsets", |all| all[5] = all[4])),
    ("other counts", |e, _| replace::<i64>(e, "expert_offsets", |all| all[5] += 1)),
    ("first_class", |e, _| e.attr("first_class")?.write_scalar(&1u64)),
    ("no first_class", |e, _| e.delete_attr("first_class")),
    ("NaN", |e, _| replace::<f32>(e, "gate_weights", |all| all[3] = f32::NAN)),
    ("infinity", |e, _| replace::<f32>(e, "expert_biases", |all| all[3] = f32::INFINITY)),
    ("a weight", |e, _| replace::<f32>(e, "expert_weights", |all| all[3] += 1.0)),
    ("fewer rows", |e, _| replace::<f32>(e, "expert_biases", |all| all.truncate(3))),
    ("huge weights", |e, _| claim(e, "gate_weights", &[1 << 40, 5])),
    ("wide weights", |e, _| claim(e, "expert_weights", &[39, 1 << 40])),
    ("weights of one side", |e, _| claim(e, "gate_weights", &[1 << 33])),
    ("weights of no side", |e, _| {
        e.unlink("gate_weights")?;
        e.new_dataset::<f32>().create("gate_weights").map(drop)
    }),
    ("texts", |e, _| {
        e.unlink("expert_biases")?;
        let texts = vec![hdf5::types::FixedAscii::<4>::new(); 39];
        e.new_dataset_builder().with_data(&texts).create("expert_biases").map(drop)
    }),
    ("a group", |e, _| {
        e.unlink("gate_offsets")?;
        e.create_group("gate_offsets").map(drop)
    }),
    ("nothing", |e, _| e.unlink("gate_weights")),
    ("no layer", |_, s| s.unlink("layer_1")),
    ("NaN in a layer", |_, s| replace::<f32>(s, "layer_0/weights", |all| all[3] = f32::NAN)),
    ("a bias", |_, s| replace::<f32>(s, "layer_0/biases", |all| all[3] += 1.0)),
    ("fewer inputs", |_, s| replace::<f32>(s, "layer_0/weights", |all| all.truncate(10))),
    ("huge layer", |_, s| claim(s, "layer_1/weights", &[1 << 31, 1 << 31])),
];

/// HDF5 files of which all digests were made right again: what they say is compared, too.
#[test]
fn hostile_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bad) = (folder.path().join("model"), folder.path().join("bad"));
    let expected = saved(&path, &shapes()[0], 1);
    for (what, damage) in DAMAGES {
        copy(&path, &bad);
        let open = |name: &str| hdf5::File::open_rw(bad.join(name)).unwrap();
        let (experts, shared) = (open("experts-00000.h5"), open("shared.h5"));
        damage(&experts, &shared).unwrap_or_else(|error| panic!("{what}: {error}"));
        experts.close().unwrap();
        shared.close().unwrap();
        refit_manifest(&bad);
        let (found, largest) =
            allocations::largest(|| refused_or_same(&bad, &expected, &|| what.to_string()));
        assert!(found && largest < ALLOCATION_MAX, "{what}: {found}, {largest} bytes at once");
    }
}
