//! From the table of poolings to what the program needs of them: the choice, its names for jobs and
//! models, and the calls of the one chosen. Every `match` below has a line for each pooling.

macro_rules! poolings {
    ($($(#[$doc:meta])* $module:ident::$type:ident = $name:literal,)*) => {
        /// How the frames of a video become one vector, element by element (docs/method.md, section
        /// 2.4).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Pooling {
            $($(#[$doc])* #[serde(rename = $name)] $type,)*
        }

        #[doc(hidden)]
        impl Pooling {
            /// All that there are, in the order of the table.
            pub const ALL: &[Pooling] = &[$(Pooling::$type,)*];

            /// As jobs and models name them.
            pub(crate) const NAMES: &[&str] = &[$($name,)*];

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Pooling::$type => $name,)*
                }
            }

            /// The pooling of this name, if there is one.
            pub(crate) fn named(name: &str) -> Option<Pooling> {
                match name {
                    $($name => Some(Pooling::$type),)*
                    _ => None,
                }
            }

            /// As `Pool::ON_DEVICE`.
            pub(crate) fn on_device(self) -> Option<[&'static str; 2]> {
                match self {
                    $(Pooling::$type => <$module::$type as Pool>::ON_DEVICE,)*
                }
            }

            /// As `Pool::defined`, and 0 of no frames.
            fn defined(self, x: &[f32]) -> f32 {
                match self {
                    _ if x.is_empty() => 0.0,
                    $(Pooling::$type => <$module::$type as Pool>::defined(x),)*
                }
            }

            /// As `Pool::defined_back`, and nothing of no frames.
            fn defined_back(self, x: &[f32], slope: f32) -> Vec<f32> {
                match self {
                    _ if x.is_empty() => Vec::new(),
                    $(Pooling::$type => <$module::$type as Pool>::defined_back(x, slope),)*
                }
            }

            /// As `Pool::exact`, and 0 of no frames.
            fn exact(self, x: &[f64]) -> f64 {
                match self {
                    _ if x.is_empty() => 0.0,
                    $(Pooling::$type => <$module::$type as Pool>::exact(x),)*
                }
            }

            /// `pool_rows` by this pooling.
            #[inline(always)]
            fn pool_rows(self, data: &[f32], stride: usize, counts: &[usize], pooled: &mut [f32]) {
                match self {
                    $(Pooling::$type => {
                        pool_rows::<$module::$type>(data, stride, counts, pooled);
                    })*
                }
            }

            /// `unpool_rows` by this pooling.
            #[inline(always)]
            fn unpool_rows(
                self,
                data: &[f32],
                stride: usize,
                counts: &[usize],
                slopes: &[f32],
                to: &mut [f32],
            ) {
                match self {
                    $(Pooling::$type => {
                        unpool_rows::<$module::$type>(data, stride, counts, slopes, to);
                    })*
                }
            }
        }
    };
}

pub(super) use poolings;
