//! The value of a key between a job file and the checked job, and how types are made of values and
//! values of types.

use serde::{Serialize, Serializer};

use crate::model::spec::{Activation, Dummy, InitialBiases, Layer, Normalize, Pooling};
use crate::optim::{SharedSolver, Solver};

/// A value of what its key takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Text(String),
    Texts(Vec<String>),
    Layers(Vec<Layer>),
}

impl Value {
    /// As a job file has it.
    pub(crate) fn to_toml(&self) -> String {
        match self {
            Value::Integer(number) => number.to_string(),
            // With a point or an exponent, as short as it comes back.
            Value::Number(number) => format!("{number:?}"),
            Value::Boolean(flag) => flag.to_string(),
            Value::Text(text) => toml::Value::from(text.as_str()).to_string(),
            Value::Texts(texts) => toml::Value::from(texts.clone()).to_string(),
            Value::Layers(layers) => {
                let layers: Vec<String> = layers.iter().map(layer_to_toml).collect();
                format!("[{}]", layers.join(", "))
            }
        }
    }

    /// That a key's type doesn't hold what the key takes, which no job file can bring about.
    fn isnt(&self, expected: &str) -> ! {
        panic!("a key of {expected} takes {self:?}")
    }
}

/// A layer as a job file has it.
fn layer_to_toml(layer: &Layer) -> String {
    match layer {
        Layer::Dense { units, activation } => {
            format!("{{ dense = {units}, activation = {:?} }}", activation.name())
        }
        Layer::Gating => "{ gating = true }".into(),
        Layer::Residual => "{ residual = true }".into(),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Integer(number) => to.serialize_i64(*number),
            Value::Number(number) => to.serialize_f64(*number),
            Value::Boolean(flag) => to.serialize_bool(*flag),
            Value::Text(text) => to.serialize_str(text),
            Value::Texts(texts) => texts.serialize(to),
            Value::Layers(layers) => layers.serialize(to),
        }
    }
}

/// A type that a key can be of.
pub(crate) trait KeyType: Sized {
    /// Of a value of what its key takes.
    fn of(value: &Value) -> Self;

    /// The value that `of` makes the same of.
    fn value(&self) -> Value;
}

impl KeyType for u64 {
    fn of(value: &Value) -> u64 {
        match value {
            // Keys of this type take none below 0.
            Value::Integer(number) => *number as u64,
            other => other.isnt("whole numbers"),
        }
    }

    fn value(&self) -> Value {
        Value::Integer(*self as i64)
    }
}

impl KeyType for usize {
    fn of(value: &Value) -> usize {
        u64::of(value) as usize
    }

    fn value(&self) -> Value {
        (*self as u64).value()
    }
}

impl KeyType for f64 {
    fn of(value: &Value) -> f64 {
        match value {
            Value::Number(number) => *number,
            other => other.isnt("numbers"),
        }
    }

    fn value(&self) -> Value {
        Value::Number(*self)
    }
}

impl KeyType for f32 {
    fn of(value: &Value) -> f32 {
        f64::of(value) as f32
    }

    fn value(&self) -> Value {
        // The decimal text that people would write, where it comes back to the same bits.
        let short: f64 = self.to_string().parse().expect("a number's own text");
        Value::Number(if short as f32 == *self { short } else { f64::from(*self) })
    }
}

impl KeyType for bool {
    fn of(value: &Value) -> bool {
        match value {
            Value::Boolean(flag) => *flag,
            other => other.isnt("true or false"),
        }
    }

    fn value(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl KeyType for String {
    fn of(value: &Value) -> String {
        match value {
            Value::Text(text) => text.clone(),
            other => other.isnt("texts"),
        }
    }

    fn value(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl KeyType for Vec<String> {
    fn of(value: &Value) -> Vec<String> {
        match value {
            Value::Texts(texts) => texts.clone(),
            other => other.isnt("lists of texts"),
        }
    }

    fn value(&self) -> Value {
        Value::Texts(self.clone())
    }
}

impl KeyType for Vec<Layer> {
    fn of(value: &Value) -> Vec<Layer> {
        match value {
            Value::Layers(layers) => layers.clone(),
            other => other.isnt("layers"),
        }
    }

    fn value(&self) -> Value {
        Value::Layers(self.clone())
    }
}

/// A type whose values have names in job files.
pub(crate) trait Choice: Sized {
    const NAMES: &'static [&'static str];

    /// The value of this name, if there is one.
    fn named(name: &str) -> Option<Self>;

    fn name(&self) -> &'static str;
}

impl<C: Choice> KeyType for C {
    fn of(value: &Value) -> C {
        let found = match value {
            Value::Text(name) => C::named(name),
            _ => None,
        };
        found.unwrap_or_else(|| value.isnt("names"))
    }

    fn value(&self) -> Value {
        Value::Text(self.name().into())
    }
}

/// Names the values of a type. One that is left out doesn't compile.
macro_rules! choices {
    ($($Type:ident { $($Variant:ident = $name:literal),+ })+) => {$(
        impl Choice for $Type {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn named(name: &str) -> Option<$Type> {
                match name {
                    $($name => Some($Type::$Variant),)+
                    _ => None,
                }
            }

            fn name(&self) -> &'static str {
                match self {
                    $($Type::$Variant => $name,)+
                }
            }
        }
    )+};
}

choices! {
    Activation {
        Identity = "identity", Relu = "relu", Relu6 = "relu6", Sigmoid = "sigmoid", Tanh = "tanh"
    }
    Dummy { Learned = "learned", Zero = "zero", None = "none" }
    InitialBiases { Zero = "zero", Frequency = "frequency" }
    Normalize { L2 = "l2", Standardise = "standardise", None = "none" }
}

/// Types that have their names in tables of their own.
macro_rules! choices_of_tables {
    ($($Type:ident)+) => {$(
        impl Choice for $Type {
            const NAMES: &'static [&'static str] = $Type::NAMES;

            fn named(name: &str) -> Option<$Type> {
                $Type::named(name)
            }

            fn name(&self) -> &'static str {
                $Type::name(*self)
            }
        }
    )+};
}

choices_of_tables! { Pooling Solver SharedSolver }
