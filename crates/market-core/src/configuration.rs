//! From a marketplace's template to a backend that is configured by it.

use crate::attributes::TransferAttributes;
use crate::backend::{Context, MarketBackend};
use crate::error::{Error, ErrorKind};
use crate::model::Marketplace;
use crate::template::serde::from_template;
use serde::de::DeserializeOwned;

/// Reads a configuration from a marketplace's template.
///
/// # Errors
/// [`ErrorKind::Config`], with the marketplace and the attribute.
pub(crate) fn configuration<C: DeserializeOwned>(marketplace: &Marketplace) -> Result<C, Error> {
    from_template(&marketplace.template).map_err(|error| {
        let wrong = Error::new(ErrorKind::Config, "", error.to_string()).with_source(error);
        in_marketplace(marketplace, wrong)
    })
}

/// Says which marketplace a wrong attribute belongs to, and how to correct it. Errors of other
/// kinds stay as they are.
pub(crate) fn in_marketplace(marketplace: &Marketplace, error: Error) -> Error {
    if !matches!(error.kind, ErrorKind::Config | ErrorKind::Unsupported) {
        return error;
    }
    let cause = match error.subject.as_str() {
        "" => error.cause.clone(),
        subject => format!("{subject}: {}", error.cause),
    };
    // A negative id: the marketplace was described in a file, no OpenNebula has it.
    let (subject, advice) = if marketplace.id < 0 {
        ("the marketplace".to_owned(), "name a MARKET file with it, or correct it there".to_owned())
    } else {
        let subject = format!("marketplace {} ({})", marketplace.id, marketplace.name);
        (subject, format!("correct it with \"onemarket update {}\"", marketplace.id))
    };
    let remedy = error.remedy.clone().unwrap_or(advice);
    error.with_subject(subject).with_cause(cause).remedy(remedy)
}

/// Connects the backend of a marketplace. The transfer attributes of its template are applied to
/// the options of the context first.
///
/// # Errors
/// What is wrong with the marketplace's attributes, what [`MarketBackend::connect`] returns, or
/// [`ErrorKind::Cancelled`].
pub(crate) async fn connect<B: MarketBackend>(
    marketplace: &Marketplace,
    context: &mut Context,
) -> Result<B, Error> {
    let attributes: TransferAttributes = configuration(marketplace)?;
    let user_agent = format!("market-{}/{}", B::MAD, B::VERSION);
    let options = context.options.clone().with_user_agent(user_agent);
    context.options = attributes
        .apply(options, &context.log)
        .map_err(|error| in_marketplace(marketplace, error))?;
    let config = configuration(marketplace)?;
    context
        .stop
        .or(B::connect(config, context))
        .await
        .map_err(|error| in_marketplace(marketplace, error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use crate::action::read_marketplace;

    #[test]
    fn the_advice_fits_a_marketplace_that_no_opennebula_has() {
        let message = |id: i64| {
            let xml = format!(
                "<MARKETPLACE><ID>{id}</ID><NAME>m</NAME><MARKET_MAD>x</MARKET_MAD><TEMPLATE/></MARKETPLACE>"
            );
            let marketplace = read_marketplace(xml.as_bytes()).unwrap();
            in_marketplace(&marketplace, Error::config("BUCKET", "is missing")).to_string()
        };
        assert_eq!(
            message(7),
            "marketplace 7 (m): attribute BUCKET: is missing; correct it with \"onemarket update 7\""
        );
        assert_eq!(
            message(-1),
            "the marketplace: attribute BUCKET: is missing; name a MARKET file with it, or correct it there"
        );
    }
}
