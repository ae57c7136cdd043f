//! Who opens which locations.

use super::Options;
use crate::{Error, Location, Source};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A way to open sources: the locations that begin with one of its names.
///
/// Futures run on one thread and need not be `Send`. A scheme that has a stream of bytes makes a
/// source of it by [`Source::from_stream`], or by [`Source::from_origin`] when the stream can be
/// opened again after it broke.
///
/// ```
/// use market_transfer::{Error, Location, Options, Scheme, Source};
///
/// /// Sources that are written in their own location: `text://hello`.
/// struct Text;
///
/// impl Scheme for Text {
///     fn names(&self) -> &[&str] {
///         &["text"]
///     }
///
///     async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error> {
///         let bytes = location.rest().to_owned().into_bytes();
///         let length = Some(bytes.len() as u64);
///         let stream = async_stream_of(bytes);
///         Ok(Source::from_stream(stream, length, &location.to_string(), options))
///     }
/// }
///
/// # fn async_stream_of(
/// #     bytes: Vec<u8>,
/// # ) -> impl AsyncFnMut() -> std::io::Result<Option<market_transfer::Bytes>> {
/// #     let mut bytes = Some(market_transfer::Bytes::from(bytes));
/// #     async move || Ok(bytes.take())
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let options = Options::default().with_scheme(Text);
/// let mut source = Source::open("text://hello", &options).await?;
/// assert_eq!(source.peek(100).await?, b"hello");
/// # Ok::<(), Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[allow(async_fn_in_trait, reason = "sources are read on one thread; futures need not be Send")]
pub trait Scheme {
    /// The schemes in lower case, such as `["http", "https"]`. They do not count for a scheme that
    /// is registered as the [fallback](Schemes::with_fallback), which may have none.
    fn names(&self) -> &[&str];

    /// Opens a location that begins with one of the names.
    ///
    /// # Errors
    /// [`Location::malformed`] when what follows the name has not the form of the scheme,
    /// [`Absent`](crate::ErrorKind::Absent) when nothing is there, and whatever stands in the way.
    async fn open(&self, location: &Location, options: &Options) -> Result<Source, Error>;
}

/// A [`Scheme`] of any type.
trait AnyScheme: Send + Sync {
    fn names(&self) -> &[&str];

    fn open<'a>(
        &'a self,
        location: &'a Location,
        options: &'a Options,
    ) -> Pin<Box<dyn Future<Output = Result<Source, Error>> + 'a>>;
}

impl<S: Scheme + Send + Sync> AnyScheme for S {
    fn names(&self) -> &[&str] {
        Scheme::names(self)
    }

    fn open<'a>(
        &'a self,
        location: &'a Location,
        options: &'a Options,
    ) -> Pin<Box<dyn Future<Output = Result<Source, Error>> + 'a>> {
        Box::pin(Scheme::open(self, location, options))
    }
}

/// The schemes that are known. Cheap to clone.
///
/// The default has `file`, `http` and `https`, `ssh`, and `rbd`.
#[derive(Clone)]
pub struct Schemes {
    /// A later one comes before an earlier one of the same name.
    known: Vec<Arc<dyn AnyScheme>>,
    fallback: Option<Arc<dyn AnyScheme>>,
}

impl Schemes {
    /// No schemes at all: not even local files.
    pub fn none() -> Self {
        Self { known: Vec::new(), fallback: None }
    }

    /// Registers a scheme, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, scheme: impl Scheme + Send + Sync + 'static) -> Self {
        self.known.push(Arc::new(scheme));
        self
    }

    /// Registers what opens every location of a scheme that nobody else has.
    #[must_use]
    pub fn with_fallback(mut self, scheme: impl Scheme + Send + Sync + 'static) -> Self {
        self.fallback = Some(Arc::new(scheme));
        self
    }

    /// The names of the registered schemes in alphabetical order; not what the fallback opens.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.known.iter().flat_map(|scheme| scheme.names().iter().copied()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Opens a location by its scheme.
    pub(crate) async fn open(
        &self,
        location: &Location,
        options: &Options,
    ) -> Result<Source, Error> {
        let named = |scheme: &&Arc<dyn AnyScheme>| scheme.names().contains(&location.scheme());
        match self.known.iter().rev().find(named).or(self.fallback.as_ref()) {
            Some(scheme) => scheme.open(location, options).await,
            None => {
                let known = self.names().join(", ");
                let cause =
                    format!("is of a scheme that this program cannot read; it knows {known}");
                Err(location.unsupported(cause))
            }
        }
    }
}

impl fmt::Debug for Schemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Schemes");
        shown.field("names", &self.names()).field("fallback", &self.fallback.is_some()).finish()
    }
}
