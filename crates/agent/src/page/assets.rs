//! The style, the script and the icon: compiled in, named by their content, so that a cache is never stale.

use std::sync::LazyLock;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::http::{Answer, text};

struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        stem: "style",
        extension: "css",
        kind: "text/css; charset=utf-8",
        bytes: stockade_web::STYLE,
    },
    Asset {
        stem: "countdown",
        extension: "js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../assets/countdown.js"),
    },
    Asset {
        stem: "icon",
        extension: "svg",
        kind: "image/svg+xml",
        bytes: stockade_web::ICON,
    },
];

/// Where the pages find them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Urls {
    pub(super) css: String,
    pub(super) js: String,
    pub(super) icon: String,
}

static URLS: LazyLock<Urls> = LazyLock::new(|| {
    let [css, js, icon] = ASSETS.each_ref().map(|asset| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, asset.bytes);
        let hash = stockade_web::secret::hex(digest.as_ref().get(..8).unwrap_or_default());
        format!("/assets/{}-{hash}.{}", asset.stem, asset.extension)
    });
    Urls { css, js, icon }
});

/// The addresses of the assets.
pub(super) fn urls() -> &'static Urls {
    &URLS
}

/// One of them, for anybody; nothing there is secret.
pub(super) fn serve(path: &str) -> Option<Answer> {
    let named = [&URLS.css, &URLS.js, &URLS.icon];
    let asset = ASSETS
        .iter()
        .zip(named)
        .find_map(|(asset, name)| (name == path).then_some(asset))?;
    let mut answer = text(StatusCode::OK, asset.kind, asset.bytes);
    let lasting = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(header::CACHE_CONTROL, lasting);
    Some(answer)
}
