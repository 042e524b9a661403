//! How the events of a kind of streams are defined.

/// Whether a program that does not understand an event must leave its stream alone.
macro_rules! must {
    (must) => {
        true
    };
    (may) => {
        false
    };
}

/// An enum of events, each with its word, whether it `must` be understood, and its fields.
/// Attributes for serde stand in `@(…)` before a field.
macro_rules! events {
    (
        $(#[$doc:meta])*
        pub enum $name:ident of $stream:ident {
            $(
                $(#[doc = $about:literal])*
                $variant:ident = $kind:literal $must:ident {
                    $(
                        $(#[doc = $what:literal])*
                        $(@$serde:tt)?
                        $field:ident: $type:ty
                    ),* $(,)?
                }
            ),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $(
                $(#[doc = $about])*
                $variant {
                    $( $(#[doc = $what])* $field: $type, )*
                },
            )*
        }

        impl $crate::event::Event for $name {
            const STREAM: $crate::event::StreamKind = $crate::event::StreamKind::$stream;

            fn encode(&self) -> $crate::Result<$crate::event::Encoded> {
                match self {
                    $(
                        Self::$variant { $($field),* } => {
                            #[derive(serde::Serialize)]
                            struct Body<'a> {
                                $( $(#[serde $serde])? $field: &'a $type, )*
                            }
                            $crate::event::Encoded::new(
                                $crate::event::EventKind::known($kind),
                                1,
                                must!($must),
                                &Body { $($field),* },
                            )
                        }
                    )*
                }
            }

            fn decode(
                kind: &$crate::event::EventKind,
                v: u16,
                body: &serde_json::value::RawValue,
            ) -> Option<Self> {
                match kind.as_str() {
                    $(
                        $kind if v == 1 => {
                            #[derive(serde::Deserialize)]
                            struct Body {
                                $( $(#[serde $serde])? $field: $type, )*
                            }
                            let body: Body = serde_json::from_str(body.get()).ok()?;
                            Some(Self::$variant { $($field: body.$field),* })
                        }
                    )*
                    _ => None,
                }
            }
        }
    };
}
