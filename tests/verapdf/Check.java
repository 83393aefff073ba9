import java.io.FileInputStream;
import org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider;
import org.verapdf.pdfa.Foundries;
import org.verapdf.pdfa.PDFAParser;
import org.verapdf.pdfa.flavours.PDFAFlavour;
import org.verapdf.pdfa.results.TestAssertion;
import org.verapdf.pdfa.results.ValidationResult;

/** Validates PDF files: Check FLAVOUR FILE…; the exit code counts the files that do not comply. */
public class Check {
  public static void main(String[] words) throws Exception {
    VeraGreenfieldFoundryProvider.initialise();
    PDFAFlavour flavour = PDFAFlavour.fromString(words[0]);
    int refused = 0;
    for (int i = 1; i < words.length; i++) {
      try (PDFAParser parser = Foundries.defaultInstance().createParser(new FileInputStream(words[i]), flavour)) {
        ValidationResult result = Foundries.defaultInstance().createValidator(flavour, false).validate(parser);
        System.out.printf("%s: %s compliant=%b, %d assertions%n",
            words[i], flavour, result.isCompliant(), result.getTotalAssertions());
        for (TestAssertion found : result.getTestAssertions()) {
          if (found.getStatus() == TestAssertion.Status.FAILED) {
            System.out.printf("  %s %s %s%n", found.getRuleId(), found.getMessage(), found.getLocation().getContext());
          }
        }
        refused += result.isCompliant() ? 0 : 1;
      }
    }
    System.exit(refused);
  }
}
