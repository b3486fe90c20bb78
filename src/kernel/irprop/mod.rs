//! The update of iRprop+, element by element (docs/method.md, section 4.3).

pub mod definition;

/// What iRprop+ remembers of each weight.
pub struct Memory<'a> {
    /// D, the size of its next step.
    pub sizes: &'a mut [f32],
    /// g', its gradient before, 0 where that turned.
    pub gradients: &'a mut [f32],
    /// Its last move, 0 where it was left in place.
    pub moves: &'a mut [f32],
}

/// Bounds of D.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub min: f32,
    pub max: f32,
}

/// What a step is taken with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signs {
    pub bounds: Bounds,
    /// Whether the loss is above the one before.
    pub rose: bool,
}

/// Moves `weights` by the signs of their `gradient`; all vectors are equally long. `rose` says
/// whether the loss is above the one before.
pub fn update(weights: &mut [f32], gradient: &[f32], memory: Memory, bounds: Bounds, rose: bool) {
    let Memory { sizes, gradients, moves } = memory;
    let found = [gradient.len(), sizes.len(), gradients.len(), moves.len()];
    assert_eq!(found, [weights.len(); 4], "a number of each kind for each weight");
    for (index, (w, g)) in weights.iter_mut().zip(gradient).enumerate() {
        let (size, before, last) = (&mut sizes[index], &mut gradients[index], &mut moves[index]);
        // Signs, not the product, which can underflow.
        let turned = (*g > 0.0 && *before < 0.0) || (*g < 0.0 && *before > 0.0);
        if turned {
            *size = (*size * 0.5).max(bounds.min);
            if rose {
                *w -= *last;
            }
            *last = 0.0;
            *before = 0.0;
            continue;
        }
        if *g != 0.0 && *before != 0.0 {
            *size = (*size * 1.2).min(bounds.max);
        }
        *last = if *g > 0.0 {
            -*size
        } else if *g < 0.0 {
            *size
        } else {
            0.0
        };
        *w += *last;
        *before = *g;
    }
}
