//! From a table of solvers to what the program needs of them: their names for jobs, their states
//! for checkpoints, what they take for plans. No choice gets the meaning of another one: every
//! `match` below has a line for each solver.

/// What an error says of a state that was read back where the job asks for another solver.
pub(super) const OTHER: &str = "found the state of another solver";

/// What all tables have: `$kind` says which solver, `$state` is what one holds.
macro_rules! solvers {
    (
        $kind:ident, $state:ident: $solver:ident
        { $($module:ident::$type:ident = $name:literal,)* }
    ) => {
        /// Which of the solvers of this table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind {
            $($type,)*
        }

        #[doc(hidden)]
        impl $kind {
            /// As jobs name them.
            pub const NAMES: &[&str] = &[$($name,)*];

            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$type => $name,)*
                }
            }

            /// The solver of this name, if there is one.
            pub fn named(name: &str) -> Option<$kind> {
                match name {
                    $($name => Some($kind::$type),)*
                    _ => None,
                }
            }

            /// Numbers that it keeps at most for each parameter, for plans of memory.
            pub fn numbers(self) -> usize {
                match self {
                    $($kind::$type => <$module::$type as $solver>::NUMBERS,)*
                }
            }
        }

        /// What one of these solvers holds of a vector of parameters.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub enum $state {
            $($type($module::$type),)*
        }

        impl $state {
            /// Whose it is.
            pub fn kind(&self) -> $kind {
                match self {
                    $($state::$type(_) => $kind::$type,)*
                }
            }
        }
    };
}

/// Solvers that are `MiniBatch`es: their states do what each of them does.
macro_rules! mini_batch_solvers {
    ($kind:ident, $state:ident { $($module:ident::$type:ident = $name:literal,)* }) => {
        tables::solvers!($kind, $state: MiniBatch { $($module::$type = $name,)* });

        #[doc(hidden)]
        impl $kind {
            /// The learning rate where a job gives none.
            pub fn learning_rate(self) -> f32 {
                match self {
                    $($kind::$type => <$module::$type as MiniBatch>::LEARNING_RATE,)*
                }
            }

            /// As `MiniBatch::new`.
            pub fn begin(self, parameters: usize) -> $state {
                match self {
                    $($kind::$type => $state::$type(MiniBatch::new(parameters)),)*
                }
            }
        }

        impl $state {
            /// As `MiniBatch::fault`, of a state that should be that of `kind`.
            pub fn fault(&self, kind: $kind, parameters: usize) -> Option<String> {
                match self {
                    _ if self.kind() != kind => Some(tables::OTHER.into()),
                    $($state::$type(solver) => MiniBatch::fault(solver, parameters),)*
                }
            }

            /// As `MiniBatch::STEPPER`.
            pub fn stepper(&self) -> Option<Stepper> {
                match self {
                    $($state::$type(_) => <$module::$type as MiniBatch>::STEPPER,)*
                }
            }

            /// As `MiniBatch::vectors`.
            pub fn vectors(&mut self) -> Vec<&mut Vec<f32>> {
                match self {
                    $($state::$type(solver) => MiniBatch::vectors(solver),)*
                }
            }

            /// As `MiniBatch::rate`.
            pub fn rate(&mut self, learning_rate: f32) -> f32 {
                match self {
                    $($state::$type(solver) => MiniBatch::rate(solver, learning_rate),)*
                }
            }

            /// As `MiniBatch::step`.
            pub fn step<S: Send>(
                &mut self,
                team: &mut Team<S>,
                instructions: Instructions,
                parameters: &mut [f32],
                gradient: &[f32],
                step: Step,
            ) {
                match self {
                    $($state::$type(solver) => {
                        MiniBatch::step(solver, team, instructions, parameters, gradient, step);
                    })*
                }
            }
        }
    };
}

/// Solvers that are `FullBatch`es.
macro_rules! full_batch_solvers {
    ($kind:ident, $state:ident { $($module:ident::$type:ident = $name:literal,)* }) => {
        tables::solvers!($kind, $state: FullBatch { $($module::$type = $name,)* });

        #[doc(hidden)]
        impl $kind {
            /// As `FullBatch::begin`.
            pub fn begin(self, point: &[f32], offered: &Offered) -> $state {
                match self {
                    $($kind::$type => $state::$type(FullBatch::begin(point, offered)),)*
                }
            }

            /// As `FullBatch::saved`.
            pub fn saved(self, evaluations: usize) -> usize {
                match self {
                    $($kind::$type => <$module::$type as FullBatch>::saved(evaluations),)*
                }
            }

            /// Numbers that a device keeps for each parameter where a kernel takes the steps.
            pub fn numbers_on_devices(self) -> usize {
                match self {
                    $($kind::$type => match <$module::$type as FullBatch>::SIGNS {
                        Some(_) => <$module::$type as FullBatch>::NUMBERS,
                        None => 0,
                    },)*
                }
            }
        }

        impl $state {
            /// As `FullBatch::fault`, of a state that should be that of `kind`.
            pub fn fault(&self, kind: $kind, numbers: usize, offered: &Offered) -> Option<String> {
                match self {
                    _ if self.kind() != kind => Some(tables::OTHER.into()),
                    $($state::$type(solver) => FullBatch::fault(solver, numbers, offered),)*
                }
            }

            /// As `FullBatch::SIGNS`.
            pub fn signs(&mut self, value: f64) -> Option<Signs> {
                match self {
                    $($state::$type(solver) => {
                        <$module::$type as FullBatch>::SIGNS.map(|signs| signs(solver, value))
                    })*
                }
            }

            /// As `FullBatch::kept`.
            pub fn kept(&mut self) -> Vec<&mut Vec<f32>> {
                match self {
                    $($state::$type(solver) => FullBatch::kept(solver),)*
                }
            }

            /// As `FullBatch::advance`.
            pub fn advance<S: Send>(
                &mut self,
                team: &mut Team<S>,
                instructions: Instructions,
                point: &mut [f32],
                found: (f64, &[f32]),
                offered: &Offered,
            ) {
                match self {
                    $($state::$type(solver) => {
                        FullBatch::advance(solver, team, instructions, point, found, offered);
                    })*
                }
            }
        }
    };
}

/// Solvers that are `ByClass`, too.
macro_rules! class_solvers {
    ($kind:ident, $state:ident { $($module:ident::$type:ident = $name:literal,)* }) => {
        tables::full_batch_solvers!($kind, $state { $($module::$type = $name,)* });

        impl $state {
            /// Reads a state of the solver `kind` that doesn't say whose it is, as checkpoints of
            /// version 1 have them.
            ///
            /// # Errors
            /// It is something else.
            pub fn take(kind: $kind, from: &mut dyn io::Read) -> io::Result<$state> {
                match kind {
                    $($kind::$type => packed::take(from).map($state::$type),)*
                }
            }

            /// As `ByClass::converged`.
            pub fn converged(&self) -> bool {
                match self {
                    $($state::$type(solver) => ByClass::converged(solver),)*
                }
            }

            /// As `ByClass::value`.
            pub fn value(&self) -> f64 {
                match self {
                    $($state::$type(solver) => ByClass::value(solver),)*
                }
            }

            /// As `ByClass::accepted`.
            pub fn accepted(&self) -> &[f32] {
                match self {
                    $($state::$type(solver) => ByClass::accepted(solver),)*
                }
            }

            /// As `ByClass::end_at`.
            pub fn end_at(&mut self, point: Vec<f32>) {
                match self {
                    $($state::$type(solver) => ByClass::end_at(solver, point),)*
                }
            }
        }
    };
}

pub(super) use {class_solvers, full_batch_solvers, mini_batch_solvers, solvers};
