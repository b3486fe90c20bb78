//! What the table of keys (`keys.rs`) is made of: what a key is, and the macro that makes the
//! checked job of it.

/// One key of a job file.
pub struct Key {
    /// `section.name`
    pub name: &'static str,
    /// Lines, each after a space.
    pub meaning: &'static str,
    pub default: Default,
    pub takes: Takes,
    /// Of what it counts or measures; may be empty.
    pub unit: &'static str,
    pub decides: Decides,
}

/// A section of a job file.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// Lines, each after a space.
    pub(super) meaning: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// From the least to the greatest.
    Integer(i64, i64),
    Number(f64, f64),
    /// 0, which turns something off, or from the least to the greatest.
    ZeroOr(f64, f64),
    Boolean,
    Choice(&'static [&'static str]),
    Text,
    /// A list of texts.
    Texts,
    /// A list of layers.
    Layers,
    /// Rows and columns of ranks, or auto.
    Grid,
}

/// What a key is where a job file doesn't have it.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// There is none: a job file has it.
    Required,
    /// As written in TOML.
    Always(&'static str),
    /// By what another key is, a choice: as written in TOML, of the choice's name.
    By(&'static str, fn(&str) -> String),
}

/// What a key decides, and so whether it may be another one when a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decides {
    /// The bits of what is computed. A run keeps it.
    Result,
    /// Which files hold rows, or the model to begin with, or that there are none. A run may find
    /// them elsewhere: whether they hold the same is seen in the files.
    Files,
    /// Where, how and when a run computes, never what. It may change.
    Execution,
}

/// Makes of the table of keys the sections of the checked job, one field for each key, and `KEYS`.
/// An entry is
///
/// ```text
///     /// Its meaning, which is the documentation of the field, too.
///     name: Type = default, what it takes, "unit", what it decides;
/// ```
macro_rules! keys {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $Section:ident {
            $(
                $(#[doc = $meaning:literal])+
                $key:ident: $Type:ty = $default:tt, $takes:expr, $unit:literal, $decides:ident;
            )+
        }
    )+) => {
        /// A checked job. Every key is in range and all keys fit together.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Job {
            $($(#[doc = $about])+ pub $section: $Section,)+
        }

        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $($(#[doc = $meaning])+ pub $key: $Type,)+
            }
        )+

        /// All keys, section by section.
        pub const KEYS: &[Key] = &[$($(
            Key {
                name: concat!(stringify!($section), ".", stringify!($key)),
                meaning: concat!($($meaning, "\n"),+),
                default: default_of!($default),
                takes: $takes,
                unit: $unit,
                decides: Decides::$decides,
            },
        )+)+];

        /// All sections, in order.
        pub(super) const SECTIONS: &[Section] = &[$(
            Section { name: stringify!($section), meaning: concat!($($about, "\n"),+) },
        )+];

        impl Job {
            /// Of the value of each key.
            pub(super) fn of<'a>(value: impl Fn(&str) -> &'a Value) -> Job {
                Job {
                    $($section: $Section {
                        $($key: <$Type as KeyType>::of(
                            value(concat!(stringify!($section), ".", stringify!($key)))
                        ),)+
                    },)+
                }
            }

            /// The value of each key, in the order of `KEYS`.
            pub(super) fn values(&self) -> Vec<Value> {
                vec![$($(self.$section.$key.value(),)+)+]
            }
        }
    };
}

/// The default of an entry: `required`, a value, or `{ "other.key" => a function of its choice }`.
macro_rules! default_of {
    (required) => {
        Default::Required
    };
    ({ $other:literal => $function:ident }) => {
        Default::By($other, $function)
    };
    ($value:tt) => {
        Default::Always(stringify!($value))
    };
}

pub(super) use {default_of, keys};
