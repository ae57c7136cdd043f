//! Imports over connections that break: each is whole, or nothing.

use crate::common::{
    Service, app_bytes, broken, contents, delete, dump, image, impatient, import_with, open,
};
use market_core::backend::StorageBackend;
use market_testkit::proxy::{Break, Proxy};
use market_testkit::{Random, block_on, context, md5_hex, noise};
use tempfile::TempDir;

/// Imports over connections that break: each is whole, or nothing.
pub(crate) fn what_breaks_is_whole_or_nothing(
    address: std::net::SocketAddr,
    service: Service<'_>,
    seeds: u64,
) {
    let directory = TempDir::new().unwrap();
    let mut published = 0;
    for seed in 0..seeds {
        let mut random = Random::new(seed);
        let length = usize::try_from(random.below(400_000)).unwrap() + 1;
        let bytes = noise(seed, length);
        let breaks: Vec<Break> = (0..6).map(|_| broken(&mut random, length)).collect();
        let proxy =
            Proxy::start(address, move |nth| breaks.get(nth).copied().unwrap_or(Break::Never));
        let through =
            service("broken", &[("ENDPOINT", &format!("http://127.0.0.1:{}", proxy.port()))]);
        let path = image(directory.path(), &bytes);
        let impatient = impatient();
        let outcome = block_on(import_with(&through, &path, &md5_hex(&bytes), &impatient));
        let direct = service("broken", &[]);
        match outcome {
            Ok(app) => {
                assert!(
                    app_bytes(&direct, 30, app.source.as_str()).unwrap() == bytes,
                    "seed {seed}: other bytes"
                );
                assert!(
                    delete(&dump(direct.clone(), "", ""), app.source.as_str()).status.success()
                );
                published += 1;
            }
            Err(error) => assert_eq!(
                app_bytes(&direct, 30, "s3://broken/marketapp-30"),
                None,
                "seed {seed}: {error}"
            ),
        }
        if seed == 0 && published == 0 {
            // The bucket may not be there yet.
            continue;
        }
        let left = contents(&direct);
        let said = impatient.log.lines().join(" ");
        assert!(left.is_empty() || said.contains("WARN"), "seed {seed}: {left:?}, {said}");
        block_on(async {
            let market = open(&direct, &context()).await;
            for object in left {
                StorageBackend::remove(&market, &object).await.unwrap();
            }
        });
    }
    assert!(
        published * 3 > seeds && published < seeds,
        "{published} of {seeds}: the faults are not what they were"
    );
}
