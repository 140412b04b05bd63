//! What boot loaders load: kernels, their wrappings, device trees, vendors' headers, and programs written as text.

pub(crate) mod android;
pub(crate) mod fdt;
pub(crate) mod fit;
pub(crate) mod kernel;
pub(crate) mod pe;
pub(crate) mod text;
pub(crate) mod uimage;
pub(crate) mod vendor;
