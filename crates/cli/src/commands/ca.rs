//! `stockade ca …`

use std::path::Path;

use crate::admin::Admin;
use crate::args::Ca;
use crate::args::token::Remote;
use crate::commands::field;
use crate::out::Out;

pub(crate) async fn run(out: Out, data: &Path, json: bool, command: &Ca) -> anyhow::Result<()> {
    match command {
        Ca::Show => {
            let status = Admin::new(data, &Remote::default())?
                .get("/api/v1/status")
                .await?;
            if json {
                out.line(&status.to_string());
            } else {
                out.line(&format!("certificate  {}", data.join("ca.pem").display()));
                out.line(&format!(
                    "SHA-256      {}",
                    field(&status, "ca_fingerprint")
                ));
            }
            Ok(())
        }
        Ca::Import { certificate, key } => crate::server::import_ca(out, data, certificate, key),
    }
}
