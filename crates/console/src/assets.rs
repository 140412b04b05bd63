//! The style, the script and the icon: compiled in, named by their content.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use stockade_web::secret::hex;

/// One file of `/assets/`.
struct Asset {
    stem: &'static str,
    extension: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        stem: "console",
        extension: "css",
        content_type: "text/css; charset=utf-8",
        bytes: stockade_web::STYLE,
    },
    Asset {
        stem: "live",
        extension: "js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../assets/live.js"),
    },
    Asset {
        stem: "icon",
        extension: "svg",
        content_type: "image/svg+xml",
        bytes: stockade_web::ICON,
    },
];

/// Where the pages find the assets; the content's hash is in the name, so a cache is never stale.
#[derive(Debug, Clone)]
pub(crate) struct AssetUrls {
    /// The style sheet.
    pub(crate) css: String,
    /// The script of the live part.
    pub(crate) js: String,
    /// The icon.
    pub(crate) icon: String,
}

static NAMES: LazyLock<[String; 3]> = LazyLock::new(|| ASSETS.each_ref().map(hashed_name));

static URLS: LazyLock<AssetUrls> = LazyLock::new(|| {
    let [css, js, icon] = NAMES.each_ref().map(|name| format!("/assets/{name}"));
    AssetUrls { css, js, icon }
});

fn hashed_name(asset: &Asset) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, asset.bytes);
    let short: String = hex(digest.as_ref()).chars().take(16).collect();
    format!("{}-{short}.{}", asset.stem, asset.extension)
}

/// The addresses of the assets.
pub(crate) fn urls() -> &'static AssetUrls {
    &URLS
}

/// Serves `/assets/*` to anybody; nothing there is secret.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{name}", get(serve))
}

async fn serve(Path(name): Path<String>) -> Response {
    for (asset, known) in ASSETS.iter().zip(NAMES.iter()) {
        if *known == name {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            return (headers, asset.bytes).into_response();
        }
    }
    StatusCode::NOT_FOUND.into_response()
}
