//! Signatures of requests: AWS Signature Version 4 in the `Authorization` header ("Authenticating
//! Requests (AWS Signature Version 4)" of the Amazon S3 API Reference).

use crate::access::Access;
use crate::time::signing_time;
use market_core::model::Secret;
use market_transfer::{Sha256, hex};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use ring::hmac;
use sha2::Digest;
use std::fmt::Write as _;
use std::time::SystemTime;
use url::{Position, Url};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Signs requests with one access key for one region.
#[derive(Clone)]
pub(crate) struct Signer {
    region: String,
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

impl Signer {
    pub(crate) fn new(access: &Access) -> Self {
        Self {
            region: access.region.clone(),
            access_key_id: access.access_key_id.clone(),
            secret_access_key: access.secret_access_key.clone(),
            session_token: access.session_token.clone(),
        }
    }

    /// Adds the headers of a signature. All headers that are there are signed, and those that are
    /// added later are not. The URL must be encoded as S3 encodes, and its query sorted.
    pub(crate) fn sign(
        &self,
        method: &Method,
        url: &Url,
        headers: &mut HeaderMap,
        payload_sha256: Sha256,
        now: SystemTime,
    ) -> Result<(), InvalidHeaderValue> {
        let (time, payload) = (signing_time(now), payload_sha256.to_string());
        headers.insert("x-amz-date", HeaderValue::from_str(&time)?);
        headers.insert("x-amz-content-sha256", HeaderValue::from_str(&payload)?);
        if let Some(token) = &self.session_token {
            let mut token = HeaderValue::from_str(token.expose())?;
            token.set_sensitive(true);
            headers.insert("x-amz-security-token", token);
        }
        let (names, lines) = canonical_headers(url, headers);
        let (path, query) = (url.path(), url.query().unwrap_or_default());
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
        let date = time.get(..8).unwrap_or_default();
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let request_sha256 = hex(&sha2::Sha256::digest(request.as_bytes()));
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{request_sha256}");
        let signature = hex(hmac_sha256(self.key(date).as_ref(), &to_sign).as_ref());
        let credential = format!("{}/{scope}", self.access_key_id);
        let mut authorization = HeaderValue::from_str(&format!(
            "{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        ))?;
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
        Ok(())
    }

    /// The key that signs the requests of a day.
    fn key(&self, date: &str) -> hmac::Tag {
        let secret = format!("AWS4{}", self.secret_access_key.expose());
        let key = hmac_sha256(secret.as_bytes(), date);
        let key = hmac_sha256(key.as_ref(), &self.region);
        let key = hmac_sha256(key.as_ref(), "s3");
        hmac_sha256(key.as_ref(), "aws4_request")
    }
}

fn hmac_sha256(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// The names of the signed headers, and a line of each, in the order of their names.
fn canonical_headers(url: &Url, headers: &HeaderMap) -> (String, String) {
    let text = |name: &HeaderName| {
        let values = headers.get_all(name).into_iter();
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let words = values.iter().map(|value| value.split(' ').filter(|word| !word.is_empty()));
        words.map(|words| words.collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(",")
    };
    let mut signed: Vec<(String, String)> =
        headers.keys().map(|name| (name.as_str().to_owned(), text(name))).collect();
    // The client adds it when it sends the request.
    signed.push(("host".to_owned(), url[Position::BeforeHost..Position::AfterPort].to_owned()));
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = String::new();
    for (name, value) in &signed {
        let _ = writeln!(lines, "{name}:{value}");
    }
    (names.join(";"), lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The examples of the Amazon S3 API Reference, "Signature Calculations for the Authorization
    /// Header": the credentials and the time of all of them.
    fn signature(
        method: Method,
        url: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> String {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let signer = Signer::new(&Access::new("us-east-1", "AKIAIOSFODNN7EXAMPLE", secret));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        let payload = <[u8; 32]>::from(sha2::Sha256::digest(body.as_bytes())).into();
        signer.sign(&method, &Url::parse(url).unwrap(), &mut map, payload, now).unwrap();
        let authorization = map[AUTHORIZATION].to_str().unwrap().to_owned();
        assert!(authorization.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        ));
        authorization.rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_examples_in_the_reference() {
        assert_eq!(
            signature(
                Method::GET,
                "https://examplebucket.s3.amazonaws.com/test.txt",
                &[("range", "bytes=0-9")],
                ""
            ),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signature(
                Method::PUT,
                "https://examplebucket.s3.amazonaws.com/test%24file.text",
                &[
                    ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                    ("x-amz-storage-class", "REDUCED_REDUNDANCY")
                ],
                "Welcome to Amazon S3."
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature(Method::GET, "https://examplebucket.s3.amazonaws.com/?lifecycle=", &[], ""),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature(
                Method::GET,
                "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
                &[],
                ""
            ),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn the_port_and_the_token_are_signed() {
        let access = Access::new("x", "id", Secret::new("hunter2"))
            .with_session_token(Secret::new("to/ken=="));
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-a", HeaderValue::from_static("  two   words "));
        let url = Url::parse("http://127.0.0.1:9000/apps/a%20b").unwrap();
        Signer::new(&access)
            .sign(&Method::GET, &url, &mut headers, [0; 32].into(), SystemTime::UNIX_EPOCH)
            .unwrap();
        let (names, lines) = canonical_headers(&url, &headers);
        assert!(names.contains(";host;") && names.ends_with(";x-amz-security-token"), "{names}");
        assert!(lines.contains("\nhost:127.0.0.1:9000\n"), "{lines}");
        assert!(lines.contains("\nx-amz-meta-a:two words\n"), "{lines}");
        assert!(!format!("{headers:?}").contains("to/ken"), "{headers:?}");
    }
}
