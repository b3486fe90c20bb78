//! What `inspect` says of a model's mixtures.

use std::path::Path;
use std::sync::Arc;

use reelscale::{Comm, load, save};
use serde_json::Value;

use super::common::reelscale;
use super::scratch;

fn inspected(path: &Path, more: &str) -> Value {
    let text = reelscale(&format!("inspect --format json {more}")).path(path).stdout();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn inspect_finds_experts_that_say_nothing_and_classes_that_are_alike() {
    let scratch = scratch();
    let train = ["pretrain.epochs=1", "experts.count=2", "rounds.count=1"].iter();
    train.fold(scratch.train("run"), |train, set| train.arg("--set").arg(*set)).stdout();
    let path = scratch.path("run/model");
    let found = inspected(&path, "");
    let mixtures = &found["mixtures"];
    assert_eq!((&found["classes"], &mixtures["dead"]["count"]), (&30.into(), &0.into()));

    // The same numbers from the weights themselves.
    let comm = Comm::serial();
    let mut model = load(&comm, &path).unwrap();
    let mut norms = Vec::new();
    for (layout, numbers) in model.experts.layouts.iter().zip(&model.experts.parameters) {
        for class in 0..layout.classes.len() {
            let (places, weights) = layout.places_of(class);
            let columns = places[..weights].chunks(layout.width).map(|column| {
                column.iter().map(|place| numbers[*place] * numbers[*place]).sum::<f32>().sqrt()
            });
            norms.extend(columns);
        }
    }
    let most = norms.iter().copied().fold(0.0, f32::max);
    let of = |what: &str| mixtures[what]["most"].as_f64().unwrap() as f32;
    let largest = of("expert_norms").max(of("gate_norms"));
    assert!((largest - most).abs() < 1e-5 * most, "{largest} {most}");

    // Both experts of class 3 say 1 whatever they see, and class 6 has the weights of class 5.
    let place = |class: usize| {
        let layouts = &model.experts.layouts;
        let block = layouts.iter().position(|layout| layout.classes.contains(&class)).unwrap();
        (block, layouts[block].places_of(class - layouts[block].classes.start))
    };
    let [(block, (places, weights)), fifth, sixth] = [3, 5, 6].map(place);
    let numbers = Arc::make_mut(&mut model.experts.parameters[block]);
    places[..weights].iter().for_each(|place| numbers[*place] = 0.0);
    places[weights..].iter().for_each(|place| numbers[*place] = 20.0);
    let of_fifth: Vec<f32> =
        fifth.1.0.iter().map(|place| model.experts.parameters[fifth.0][*place]).collect();
    let numbers = Arc::make_mut(&mut model.experts.parameters[sixth.0]);
    sixth.1.0.iter().zip(of_fifth).for_each(|(place, number)| numbers[*place] = number);
    let changed = scratch.path("changed");
    save(&comm, &changed, &model).unwrap();
    let mixtures = &inspected(&changed, "")["mixtures"];
    let third = serde_json::json!([{ "class": 3, "expert": 0 }, { "class": 3, "expert": 1 }]);
    for what in ["dead", "saturated"] {
        assert_eq!((&mixtures[what]["count"], &mixtures[what]["first"]), (&2.into(), &third));
    }
    let first = &mixtures["alike"][0];
    assert!(first["classes"][0]["class"] == 5 && first["classes"][1]["class"] == 6, "{first}");
    assert!(first["cosine"].as_f64().unwrap() > 0.99999, "{first}");
    let nearest = &inspected(&changed, "--class 6")["mixtures"]["nearest"];
    assert_eq!(
        (&nearest["to"]["class"], &nearest["classes"][0]["is"]["class"]),
        (&6.into(), &5.into())
    );

    let text = reelscale("inspect --class 6").path(&changed).stdout();
    assert!(text.contains("dead       2 experts, such as expert 0 of class 3"), "{text}");
    assert!(text.contains("per class  2 to 2 experts") && text.contains("1.000 class 5"), "{text}");
    let text = reelscale("inspect --class 30").path(&changed).fails_with(2);
    assert!(text.contains("expected the name of a class or a number below 30"), "{text}");

    // A run stands for its model.
    let run = scratch.path("run");
    assert_eq!(inspected(&run, "")["content"], inspected(&run.join("model"), "")["content"]);
    std::fs::rename(run.join("model"), run.join("away")).unwrap();
    let text = reelscale("inspect").path(&run).fails_with(4);
    assert!(text.contains("a run has its model once it is finished"), "{text}");

    let shards = inspected(&scratch.path("data"), "");
    assert_eq!((&shards["rows"], &shards["classes"]), (&600.into(), &30.into()));
    let text = reelscale("inspect --class 1").path(&scratch.path("data")).fails_with(2);
    assert!(text.contains("--class: found no model, expected the directory of one"), "{text}");
}
