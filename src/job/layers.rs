//! Layers as a job file has them: `{ dense = 2048, activation = "relu" }`, `{ gating = true }`.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::file::{Wrong, integer, nearest, shown};
use super::keys::ACTIVATIONS;
use super::value::Choice;
use crate::model::spec::{Activation, Layer};

/// The layer that `value` is.
///
/// # Errors
/// It is none: where, and what it is instead.
pub(crate) fn layer(value: &Spanned<DeValue>) -> Result<Layer, Wrong> {
    let wrong = |span: Range<usize>, text: String| Err((span, text));
    let Some(table) = value.get_ref().as_table() else {
        let found = shown(value.get_ref());
        return wrong(
            value.span(),
            format!("found {found}, expected a layer such as {{ dense = 1024 }}"),
        );
    };
    let (mut units, mut activation, mut plain) = (None, None, None);
    for (name, value) in table {
        let found = shown(value.get_ref());
        match name.get_ref().as_ref() {
            "dense" => match integer(value.get_ref()) {
                Some(number @ 1..=1_048_576) => units = Some(number as usize),
                _ => {
                    let text =
                        format!("dense: found {found}, expected a whole number from 1 to 1048576");
                    return wrong(value.span(), text);
                }
            },
            "activation" => match value.get_ref().as_str().and_then(Activation::named) {
                Some(named) => activation = Some(named),
                None => {
                    let expected = ACTIVATIONS.join(", ");
                    let text = format!("activation: found {found}, expected one of {expected}");
                    return wrong(value.span(), text);
                }
            },
            "gating" if value.get_ref().as_bool() == Some(true) => plain = Some(Layer::Gating),
            "residual" if value.get_ref().as_bool() == Some(true) => plain = Some(Layer::Residual),
            other => {
                let known = ["dense", "activation", "gating", "residual"];
                let text = match known.contains(&other) {
                    true => format!("{other}: found {found}, expected true"),
                    false => {
                        format!("{other}: unknown in a layer{}", nearest(other, known.into_iter()))
                    }
                };
                return wrong(name.span(), text);
            }
        }
    }
    match (units, activation, plain) {
        (Some(units), activation, None) => {
            Ok(Layer::Dense { units, activation: activation.unwrap_or(Activation::Relu) })
        }
        (None, None, Some(layer)) => Ok(layer),
        _ => wrong(
            value.span(),
            "expected { dense = UNITS, activation = ... }, { gating = true } or \
             { residual = true }"
                .into(),
        ),
    }
}
